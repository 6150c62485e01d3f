// The same codec, in a Worker: nothing of the work is done in the page's own thread.

import { GroveCodecError } from "./errors.js";
import { checkLevels } from "./spec.js";

const IN_NODE = typeof process !== "undefined" && Boolean(process.versions?.node);

export class RemoteCodec {
  static async load(source, options) {
    const codec = new RemoteCodec(await startWorker(), options.onProgress ?? (() => {}));
    const { worker: _, onProgress: __, signal, ...rest } = options;
    signal?.addEventListener("abort", () => codec.lose("the loading was given up"));
    try {
      await codec.started;
      const lock = IN_NODE || !navigator.locks ? null : `grove-codec-${crypto.randomUUID()}`;
      const base = globalThis.document?.baseURI;
      const address = typeof source === "string" || source instanceof URL ? String(new URL(source, base)) : source;
      Object.assign(codec, await codec.call("load", [address, { ...rest, lock }]));
      return codec;
    } catch (error) {
      codec.lose(error.message);
      throw error;
    }
  }

  constructor(worker, onProgress) {
    this.worker = worker;
    this.onProgress = onProgress;
    this.calls = new Map();
    this.streams = new Map();
    this.next = 1;
    this.fault = null;
    this.started = new Promise((resolve, reject) => Object.assign(this, { onStarted: resolve, onLost: reject }));
    this.started.catch(() => {});
    worker.listen((message) => this.take(message), (reason) => this.lose(reason));
  }

  get delayMs() {
    return (1000 * (this.spec.hop_samples + this.spec.delay_samples)) / this.spec.sample_rate_hz;
  }

  encoder(options = {}) {
    if (options.levels !== undefined) checkLevels(this.spec, options.levels);
    return this.opened(new RemoteEncoder(this), "encoder", options);
  }

  decoder(options = {}) {
    return this.opened(new RemoteDecoder(this), "decoder", options);
  }

  encode(samples, options) {
    return this.call("encode", [samples, options]);
  }

  decode(bytes, options) {
    return this.call("decode", [bytes, options]);
  }

  async close() {
    this.lose("the codec was closed", "closed");
  }

  opened(stream, kind, options) {
    this.streams.set(stream.id, stream);
    // What is wrong with the options is told by the first call on the stream.
    stream.opening = this.call(kind, [stream.id, options]);
    stream.opening.catch(() => this.streams.delete(stream.id));
    return stream;
  }

  call(method, args, { stream, transfer = [] } = {}) {
    if (this.fault) return Promise.reject(this.fault);
    const call = this.next++;
    return new Promise((resolve, reject) => {
      this.calls.set(call, { resolve, reject });
      this.worker.post({ call, stream, method, args }, transfer);
    });
  }

  take({ started, locked, progress, call, value, error, stream, packets }) {
    if (started) this.onStarted();
    else if (locked) this.watch(locked);
    else if (progress) this.onProgress(progress);
    else if (stream) this.streams.get(stream)?.take(packets, error && errorOf(error));
    else {
      const waiting = this.calls.get(call);
      this.calls.delete(call);
      if (error) waiting?.reject(errorOf(error));
      else waiting?.resolve(value);
    }
  }

  // A Worker that the browser ends says nothing; the lock it held becomes free.
  watch(lock) {
    navigator.locks.request(lock, () => this.lose("the Worker ended"));
  }

  lose(reason, code = "worker_lost") {
    if (this.fault) return;
    this.fault = new GroveCodecError(code, reason);
    this.worker.end();
    this.onLost(this.fault);
    for (const { reject } of this.calls.values()) reject(this.fault);
    for (const stream of this.streams.values()) stream.take([], this.fault);
    this.calls.clear();
    this.streams.clear();
  }
}

let streamsMade = 0;

class RemoteStream {
  constructor(codec) {
    this.codec = codec;
    this.id = ++streamsMade;
  }

  async call(method, args = [], transfer = []) {
    const value = this.codec.call(method, args, { stream: this.id, transfer });
    value.catch(() => {});
    await this.opening;
    return value;
  }

  async finish(...args) {
    const rest = await this.call("finish", args);
    this.codec.streams.delete(this.id);
    return rest;
  }

  close() {
    this.call("close").catch(() => {});
    this.codec.streams.delete(this.id);
  }
}

class RemoteEncoder extends RemoteStream {
  push(samples) {
    return this.call("push", [samples]);
  }

  skip(samples) {
    return this.call("skip", [samples]);
  }

  setLevels(levels) {
    checkLevels(this.codec.spec, levels);
    return this.call("setLevels", [levels]);
  }

  /** Take { samples, time } from a MessagePort, such as a worklet's; packets go to `onPackets`. */
  listen(port, onPackets, onError = () => {}) {
    this.take = (packets, error) => (error ? onError(error) : onPackets(packets));
    return this.call("listen", [port], [port]);
  }

  take() {}
}

class RemoteDecoder extends RemoteStream {
  push(packets) {
    return this.call("push", [packets]);
  }

  lost(count) {
    return this.call("lost", [count]);
  }

  /** Give samples to a MessagePort, such as a worklet's; `push` then returns their number. */
  play(port) {
    return this.call("play", [port], [port]);
  }

  take() {}
}

function errorOf({ code, message, hint }) {
  const error = new GroveCodecError(code ?? "worker_lost", message, hint);
  error.message = message; // it has its code and hint already
  return error;
}

async function startWorker() {
  const url = new URL("./worker.js", import.meta.url);
  if (IN_NODE) {
    const { Worker } = await import("node:worker_threads");
    const worker = new Worker(url);
    return {
      post: (message, transfer) => worker.postMessage(message, transfer),
      listen(onMessage, onLost) {
        worker.on("message", onMessage);
        worker.on("error", (error) => onLost(error.message));
        worker.on("exit", () => onLost("the Worker ended"));
      },
      end: () => worker.terminate(),
      worker,
    };
  }
  const worker = new Worker(url, { type: "module" });
  return {
    post: (message, transfer) => worker.postMessage(message, transfer),
    listen(onMessage, onLost) {
      worker.onmessage = (event) => onMessage(event.data);
      worker.onerror = (event) => onLost(event.message || "the Worker did not start");
      worker.onmessageerror = () => onLost("the Worker sent what cannot be read");
    },
    end: () => worker.terminate(),
    worker,
  };
}
