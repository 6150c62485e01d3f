// Where the codec works: on the server, or in this browser.

import { decodeHere, encodeHere, LocalPath } from "./local_path.js";
import { preparedContext } from "./microphone.js";
import { wavBlob } from "./pcm.js";
import { decodeFile, encodeFile, LivePath } from "./path.js";

export class ServerPlace {
  constructor(access) {
    this.access = access;
  }

  livePath(take, wish, handlers) {
    return new LivePath(take, wish, handlers, this.access);
  }

  encodeFile(take, handlers) {
    return encodeFile(take, handlers, this.access);
  }

  decodeFile(take, wish, handlers, signal) {
    return decodeFile(take, wish, handlers, this.access, signal);
  }

  convert(take, levels, format) {
    const body = take.file || wavBlob(take.original.values(), take.rateHz);
    return this.access.convert(format === "grv" ? "encode" : "transcode", levels, format, body);
  }
}

export class BrowserPlace {
  // Tell whether the server has what a codec in this browser needs.
  static async isAvailable() {
    const reply = await fetch(new URL("local/status", document.baseURI)).catch(() => null);
    return reply?.ok ? (await reply.json()).available : false;
  }

  // `onProgress(bytes so far, all bytes)`
  static async load(model, key, onProgress) {
    const base = new URL("local/", document.baseURI);
    const { GroveCodec } = await import(new URL("codec/index.js", base));
    let bytes = 0;
    const codec = await GroveCodec.load(new URL(`bundles/${model.sha256}/`, base).href, {
      runtime: new URL("runtime/ort.wasm.bundle.min.mjs", base).href,
      worker: true,
      headers: key ? { Authorization: `Bearer ${key}` } : {},
      onProgress: (file) => onProgress((bytes += file.bytes)),
    });
    return new BrowserPlace(codec, await preparedContext(model.sample_rate_hz));
  }

  constructor(codec, context) {
    this.codec = codec;
    this.context = context; // for microphones
  }

  livePath(take, wish, handlers) {
    return new LocalPath(take, wish, handlers, this.codec);
  }

  encodeFile(take, handlers, signal) {
    return encodeHere(take, handlers, this.codec, signal);
  }

  decodeFile(take, wish, handlers, signal) {
    return decodeHere(take, wish, handlers, this.codec, signal);
  }

  async convert(take, levels, format) {
    const samples = take.original.values().slice();
    const grv = await this.codec.encode(samples, { sampleRate: take.rateHz, levels });
    if (format === "grv") return new Blob([grv], { type: "application/vnd.grove.grv" });
    const { channels, sampleRate } = await this.codec.decode(grv);
    return wavBlob(channels[0], sampleRate);
  }
}
