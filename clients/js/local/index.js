// The codec where the microphone is: a bundle of the service in the browser, or in Node.js.

import { loadBundle } from "./bundle.js";
import { decodeFile, encodeFile } from "./files.js";
import { RemoteCodec } from "./remote.js";
import { Graphs, loadRuntime } from "./runtime.js";
import { Decoder, Encoder } from "./streams.js";

export { ERROR_CODES, GroveCodecError } from "./errors.js";

export class GroveCodec {
  /**
   * Load a bundle from the address of its folder, or from its files. Options: `runtime` (ONNX
   * Runtime Web or its address), `threads`, `worker` (true: outside this thread), `headers`, `cache`,
   * `onProgress`, `signal`.
   */
  static async load(source, options = {}) {
    if (options.worker) return RemoteCodec.load(source, options);
    // Both at once: the graphs come over the line while the runtime is compiled.
    const [ort, bundle] = await settled([loadRuntime(options), loadBundle(source, options)]);
    return new GroveCodec(bundle, await Graphs.open(bundle, ort));
  }

  constructor(bundle, graphs) {
    this.spec = bundle.spec;
    this.manifest = bundle.manifest;
    this.graphs = graphs;
  }

  /** From a sample in to the same sample out, without the time that the work takes. */
  get delayMs() {
    return delayMs(this.spec);
  }

  /** { sampleRate, levels } -> a stream of samples to packets. */
  encoder(options) {
    return new Encoder(this.graphs, options);
  }

  /** { sampleRate, holdEnd } -> a stream of packets to samples. */
  decoder(options) {
    return new Decoder(this.graphs, options);
  }

  /** Return the .grv file of mono samples; options: sampleRate, levels, tags. */
  encode(samples, options) {
    return encodeFile(this.graphs, samples, options);
  }

  /** Return { channels, sampleRate, damage } of a .grv file; options: sampleRate, levels. */
  decode(bytes, options) {
    return decodeFile(this.graphs, this.manifest.compatible, bytes, options);
  }

  /** Let go of the graphs' memory; streams that are still open end with `closed`. */
  close() {
    return this.graphs.close();
  }
}

export function delayMs(spec) {
  return (1000 * (spec.hop_samples + spec.delay_samples)) / spec.sample_rate_hz;
}

// Wait for all, so that nothing goes on in the background once one has failed.
async function settled(promises) {
  const results = await Promise.allSettled(promises);
  for (const result of results) if (result.status === "rejected") throw result.reason;
  return results.map((result) => result.value);
}
