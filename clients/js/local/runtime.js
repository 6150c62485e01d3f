// The exported graphs, stepped by ONNX Runtime's WebAssembly: frames in, frames out, memory as values.

import { GroveCodecError } from "./errors.js";

// Beyond this many frames nothing is gained by sharing a pass over the weights.
const FRAMES_PER_CALL = 64;
const SMALLEST = Math.fround(1e-20);
// A module that uses one SIMD instruction: (func (result v128) (i8x16.splat (i32.const 0))).
const SIMD_PROBE = Uint8Array.of(
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11,
);
const IN_NODE = typeof process !== "undefined" && Boolean(process.versions?.node);
// Beside this package where npm installed it, below it in a clone.
const MODULES = import.meta.url.includes("/node_modules/") ? "../.." : "../node_modules";
const IN_BROWSER = `${MODULES}/onnxruntime-web/dist/ort.wasm.bundle.min.mjs`;

/** Load ONNX Runtime Web: `runtime` is the module itself, or its address. */
export async function loadRuntime({ runtime, threads = 1 } = {}) {
  if (!WebAssembly.validate(SIMD_PROBE)) {
    throw new GroveCodecError("no_simd", "this browser's WebAssembly has no SIMD", "use a browser of 2023 or later");
  }
  // ONNX Runtime Web starts its threads from what it fetches, and Node.js fetches no files.
  if (threads > 1 && (IN_NODE || !globalThis.crossOriginIsolated)) {
    const hint = "send Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp";
    throw new GroveCodecError("no_threads", `${threads} threads need a page that is cross-origin isolated`, hint);
  }
  const ort = typeof runtime === "object" && !(runtime instanceof URL) ? runtime : await imported(runtime);
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  return ort;
}

async function imported(address) {
  const found = address ?? (IN_NODE ? "onnxruntime-web/wasm" : new URL(IN_BROWSER, import.meta.url).href);
  try {
    const module = await import(String(found));
    return module.default ?? module;
  } catch (error) {
    const hint = "npm install onnxruntime-web, or pass the address of its ort.wasm.bundle.min.mjs as `runtime`";
    throw new GroveCodecError("no_runtime", `${found}: ${error.message}`, hint);
  }
}

/** Encoder and decoder of one bundle. One step runs at a time; streams keep their own memory. */
export class Graphs {
  static async open(bundle, ort) {
    const encoder = await session(ort, bundle.encoder, "encoder");
    try {
      return new Graphs(ort, bundle, encoder, await session(ort, bundle.decoder, "decoder"));
    } catch (error) {
      await encoder.release();
      throw error;
    }
  }

  constructor(ort, bundle, encoder, decoder) {
    this.ort = ort;
    this.spec = bundle.spec;
    this.sizes = { encoder: bundle.manifest.encoder_state, decoder: bundle.manifest.decoder_state };
    this.encoder = encoder;
    this.decoder = decoder;
    this.queue = Promise.resolve();
    this.isClosed = false;
  }

  /** The memory of a stream that has not begun. */
  zeroState(which) {
    return new this.ort.Tensor("float32", new Float32Array(this.sizes[which]), [1, this.sizes[which]]);
  }

  /** Return codes [T, K] and the new memory for pcm [T * hop]. */
  async encodeStep(pcm, state) {
    const { hop_samples: hop, code_sizes: sizes } = this.spec;
    const frames = pcm.length / hop;
    const quiet = withoutDenormals(pcm);
    const codes = new Uint16Array(frames * sizes.length);
    for (let start = 0; start < frames; start += FRAMES_PER_CALL) {
      const count = Math.min(FRAMES_PER_CALL, frames - start);
      const block = quiet.subarray(start * hop, (start + count) * hop);
      const feed = { pcm: new this.ort.Tensor("float32", block, [1, count, hop]), state };
      const made = await this.run(this.encoder, feed);
      codes.set(Uint16Array.from(made.codes.data, Number), start * sizes.length);
      state = made.new_state;
    }
    return { codes, state };
  }

  /** Return pcm [T * hop] and the new memory for checked codes [T, K] at levels [T]. */
  async decodeStep(codes, levels, state) {
    const { hop_samples: hop, code_sizes: sizes } = this.spec;
    const books = sizes.length;
    const pcm = new Float32Array(levels.length * hop);
    for (let start = 0; start < levels.length; start += FRAMES_PER_CALL) {
      const count = Math.min(FRAMES_PER_CALL, levels.length - start);
      const wide = BigInt64Array.from(codes.subarray(start * books, (start + count) * books), BigInt);
      const counts = BigInt64Array.from(levels.slice(start, start + count), BigInt);
      const feed = {
        codes: new this.ort.Tensor("int64", wide, [1, count, books]),
        levels: new this.ort.Tensor("int64", counts, [1, count]),
        state,
      };
      const made = await this.run(this.decoder, feed);
      pcm.set(made.pcm.data, start * hop);
      state = made.new_state;
    }
    return { pcm, state };
  }

  run(graph, feed) {
    const turn = this.queue.then(() => {
      if (this.isClosed) throw new GroveCodecError("closed", "the codec was closed");
      return graph.run(feed);
    });
    this.queue = turn.catch(() => {});
    return turn;
  }

  async close() {
    if (this.isClosed) return;
    this.isClosed = true;
    await this.queue;
    await Promise.all([this.encoder.release(), this.decoder.release()]);
  }
}

async function session(ort, graph, name) {
  try {
    return await ort.InferenceSession.create(graph, { executionProviders: ["wasm"] });
  } catch (error) {
    throw new GroveCodecError("bad_bundle", `the ${name} graph does not load: ${error.message}`);
  }
}

// As the Python runtime: what lies 400 dB below full scale is slow to work with, and is taken as zero.
function withoutDenormals(pcm) {
  return pcm.map((sample) => (Math.abs(sample) < SMALLEST ? 0 : sample));
}
