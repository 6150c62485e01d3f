/** The codec where the microphone is: a bundle of the service in the browser, or in Node.js. */

export type ErrorCode =
  | "no_runtime"
  | "no_simd"
  | "no_threads"
  | "no_crypto"
  | "unreachable"
  | "bad_bundle"
  | "wrong_hash"
  | "bad_samples"
  | "bad_rate"
  | "bad_levels"
  | "bad_packet"
  | "bad_file"
  | "foreign_model"
  | "worker_lost"
  | "closed";

export declare const ERROR_CODES: readonly ErrorCode[];

export declare class GroveCodecError extends Error {
  readonly code: ErrorCode;
  readonly hint?: string;
}

export interface CodecSpec {
  readonly name: string;
  readonly version: string;
  readonly model_sha256: string;
  readonly sample_rate_hz: number;
  readonly hop_samples: number;
  readonly delay_samples: number;
  readonly code_sizes: readonly number[];
  readonly codes_per_level: readonly number[];
  readonly levels: number;
}

/** One frame: `bytes` is the packet of BITSTREAM.md, section 1; level 0 stands for a lost frame. */
export interface Packet {
  index?: number;
  level: number;
  bytes: Uint8Array;
}

export interface EncodedPacket extends Packet {
  index: number;
  /** The codes that the level carries, as `GroveStream.sendTokens` and speech models take them. */
  codes: Uint16Array;
  /** Of the last sample, where samples came with a time through `listen`. */
  time?: number;
}

export type Samples = Float32Array | Int16Array;

export interface Encoder {
  push(samples: Samples): Promise<EncodedPacket[]>;
  setLevels(levels: number): Promise<void>;
  /** Leave out samples in order to be on time: packets are numbered as if they had been encoded. */
  skip(samples: number): Promise<void>;
  finish(): Promise<EncodedPacket[]>;
  close(): void;
  /** With `worker: true` only: samples come straight from a worklet's port. */
  listen?(
    port: MessagePort,
    onPackets: (packets: EncodedPacket[]) => void,
    onError?: (error: GroveCodecError) => void,
  ): Promise<void>;
}

export interface Decoder {
  push(packets: Packet | Packet[]): Promise<Float32Array>;
  lost(count?: number): Promise<Float32Array>;
  /** The rest, so that no more than `samples` came in all. */
  finish(samples?: number): Promise<Float32Array>;
  close(): void;
  /** With `worker: true` only: samples go straight to a worklet's port, and `push` gives their number. */
  play?(port: MessagePort): Promise<void>;
}

export type BundleFile = Uint8Array | ArrayBuffer | Blob;

export interface LoadOptions {
  /** ONNX Runtime Web itself (not with `worker`), or the address of its ort.wasm.bundle.min.mjs. */
  runtime?: object | string | URL;
  threads?: number;
  worker?: boolean;
  headers?: Record<string, string>;
  /** Keep the graphs in the browser's cache storage, by their hash; true unless said otherwise. */
  cache?: boolean;
  /** `fetched` is 0 where a file came from the cache. */
  onProgress?: (progress: { name: string; bytes: number; fetched: number }) => void;
  signal?: AbortSignal;
}

export interface Damage {
  reason: string;
  detail: string;
  firstFrame: number;
  frames: number;
  channel: number | null;
}

export interface Decoded {
  channels: Float32Array[];
  sampleRate: number;
  damage: Damage[];
}

export declare class GroveCodec {
  static load(source: string | URL | Record<string, BundleFile>, options?: LoadOptions): Promise<GroveCodec>;
  readonly spec: CodecSpec;
  readonly manifest: Readonly<Record<string, unknown>>;
  readonly delayMs: number;
  encoder(options?: { sampleRate?: number; levels?: number }): Encoder;
  /** `holdEnd` keeps back what `finish(samples)` may cut off. */
  decoder(options?: { sampleRate?: number; holdEnd?: boolean }): Decoder;
  encode(samples: Samples, options?: { sampleRate?: number; levels?: number; tags?: Record<string, string> }): Promise<Uint8Array>;
  decode(bytes: Uint8Array | ArrayBuffer, options?: { sampleRate?: number; levels?: number }): Promise<Decoded>;
  close(): Promise<void>;
}
