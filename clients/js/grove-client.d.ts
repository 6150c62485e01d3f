/** A client of the Grove service for browsers and Node.js. Field names are those of PROTOCOL.md. */

/** What the service refused or broke off; `code` is one of PROTOCOL.md's, or `unreachable`, `closed`, `http`. */
export declare class GroveError extends Error {
  constructor(code: string, message: string, hint?: string, retryAfterSeconds?: number, status?: number);
  readonly code: string;
  readonly hint?: string;
  readonly retryAfterSeconds?: number;
  readonly status?: number;
}

export type Body = Uint8Array<ArrayBuffer> | ArrayBuffer | Blob | string;
export type TokenFormat = "grv" | "json" | "npy";
export type AudioFormat = "wav" | "flac" | "ogg" | "raw" | "l16";
export type Operation = "encode" | "decode" | "transcode";

export interface EncodeOptions {
  levels?: number;
  format?: TokenFormat;
  model?: string;
}

export interface DecodeOptions {
  format?: AudioFormat;
  sample_rate?: number;
  model?: string;
  damage?: "refuse" | "conceal";
}

export interface TranscodeOptions {
  levels?: number;
  format?: AudioFormat;
  sample_rate?: number;
  model?: string;
}

export interface JobOptions {
  levels?: number;
  format?: TokenFormat | AudioFormat;
  sample_rate?: number;
  model?: string;
  damage?: "refuse" | "conceal";
}

export interface Model {
  readonly name: string;
  readonly version: string;
  readonly sha256: string;
  readonly default: boolean;
  readonly sample_rate_hz: number;
  readonly hop_samples: number;
  readonly frame_rate_hz: number;
  readonly delay_ms: number;
  readonly levels: number;
  readonly code_sizes: readonly number[];
  readonly codes_per_level: readonly number[];
  readonly bitrates_bps: readonly number[];
}

export interface Job {
  readonly id: string;
  readonly operation: Operation;
  readonly state: "queued" | "running" | "done" | "failed" | "cancelled" | "interrupted";
  readonly model_sha256: string;
  readonly levels: number;
  readonly format: string;
  readonly created: number;
  readonly seconds_done: number;
  readonly seconds_total?: number;
  readonly percent?: number;
  readonly ended?: number;
  readonly expires_at?: number;
  readonly result_bytes?: number;
  readonly error_code?: string;
  readonly error?: string;
  readonly damage?: readonly string[];
}

export interface Jobs {
  start(operation: Operation, body: Body, options?: JobOptions, idempotencyKey?: string): Promise<Job>;
  get(id: string): Promise<Job>;
  list(): Promise<Job[]>;
  events(id: string): AsyncGenerator<Job, void, undefined>;
  wait(id: string): Promise<Job>;
  result(id: string): Promise<Uint8Array<ArrayBuffer>>;
  delete(id: string): Promise<Job>;
}

export declare class Grove {
  constructor(url?: string, key?: string | null, options?: { attempts?: number });
  readonly url: string;
  readonly key: string | null;
  readonly attempts: number;
  readonly jobs: Jobs;
  encode(audio: Body, options?: EncodeOptions): Promise<Uint8Array<ArrayBuffer>>;
  decode(tokens: Body, options?: DecodeOptions): Promise<Uint8Array<ArrayBuffer>>;
  transcode(audio: Body, options?: TranscodeOptions): Promise<Uint8Array<ArrayBuffer>>;
  models(): Promise<Model[]>;
  token(): Promise<{ token: string; seconds: number }>;
  stream(settings?: StreamSettings): Promise<GroveStream>;
}

export interface StreamSettings {
  mode?: Operation;
  levels?: number;
  encoding?: "pcm_s16le" | "pcm_f32le" | "mulaw" | "alaw";
  sample_rate?: number;
  channels?: 1 | 2;
  pace?: "realtime" | "file";
  model?: string;
  frames_per_packet?: number;
}

export interface Session {
  readonly session_id: string;
  readonly mode: Operation;
  readonly encoding: string;
  readonly sample_rate_hz: number;
  readonly channels: number;
  readonly levels: number;
  readonly pace: string;
  readonly frames_per_packet: number;
  readonly model: {
    readonly name: string;
    readonly version: string;
    readonly sha256: string;
    readonly sample_rate_hz: number;
    readonly hop_samples: number;
    readonly code_sizes: readonly number[];
    readonly codes_per_level: readonly number[];
  };
  readonly delay: { readonly algorithmic_ms: number; readonly resampler_ms: number };
  readonly limits: Readonly<Record<"message_bytes" | "idle_seconds" | "session_seconds" | "ahead_ms", number>>;
  readonly resume: { readonly token: string; readonly seconds: number };
}

export interface Summary {
  readonly frames: number;
  readonly samples: number;
  readonly seconds: number;
  readonly sha256: string;
}

/** `index` is the first sample or frame; the payload is samples, or codes of 16 bits, little-endian. */
export interface Packet {
  kind: "audio" | "tokens";
  index: number;
  count: number;
  levels: number;
  payload: Uint8Array;
}

/** What `sendTokens` needs of a packet. */
export type TokenPacket = Pick<Packet, "count" | "levels" | "payload">;

/** One session: send, and read with `for await`. A dropped line is resumed. */
export declare class GroveStream implements AsyncIterable<Packet> {
  constructor(url: string, key: string | null, settings: StreamSettings);
  readonly session: Session | null;
  readonly summary: Summary | null;
  readonly opened: Promise<void>;
  send(chunk: ArrayBuffer | ArrayBufferView): Promise<void>;
  sendTokens(packet: TokenPacket): Promise<void>;
  setLevels(levels: number): void;
  finalize(): void;
  close(): void;
  [Symbol.asyncIterator](): AsyncGenerator<Packet, void, undefined>;
}

/** Return the codes of each frame of a packet of tokens, level 0 first. */
export declare function framesOf(packet: TokenPacket): number[][];
