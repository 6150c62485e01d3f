// From audio to tokens to audio: two sessions, and between them the line that loses packets.

import { KIND_AUDIO, KIND_TOKENS, StreamSession } from "./session.js";
import { codesAt, isLostAt, tokensSha256 } from "./take.js";
import { toFloat, toInt16 } from "./pcm.js";

const FILE_CHUNK_SAMPLES = 24000;
const NO_PAYLOAD = new Uint8Array(0);

// `wish` has `levels` and `lossShare`, and may change at any time.
// handlers: those of StreamSession but onPacket, and onFrames(levels, lost), onDecoded(samples),
// onDelay(milliseconds).
export class LivePath {
  constructor(take, wish, handlers, access) {
    this.take = take;
    this.wish = wish;
    this.handlers = handlers;
    this.access = access;
    this.sentAtMs = new Map();
    this.samplesSent = 0;
    // Where these sessions begin in the take; not at its start when a first pair was lost.
    this.baseFrame = Math.ceil(take.original.length / take.samplesPerFrame);
    this.fillTo(this.baseFrame);
  }

  get baseSample() {
    return this.baseFrame * this.take.samplesPerFrame;
  }

  async open() {
    const { model, rateHz } = this.take;
    const shared = { encoding: "pcm_s16le", sample_rate: rateHz, model: model.sha256 };
    this.encoder = new StreamSession(
      { ...shared, mode: "encode", levels: this.wish.levels },
      { ...this.handlers, onPacket: (packet) => this.onTokens(packet) },
      this.access,
    );
    this.decoder = new StreamSession(
      { ...shared, mode: "decode" },
      { ...this.handlers, onPacket: (packet) => this.onAudio(packet), onRoundTrip: () => {} },
      this.access,
    );
    const created = await this.encoder.open();
    try {
      await this.decoder.open();
    } catch (failure) {
      this.encoder.abandon();
      throw failure;
    }
    return created;
  }

  push(chunk) {
    this.take.original.write(this.take.original.length, chunk);
    this.samplesSent += chunk.length;
    const frame = Math.floor(this.samplesSent / this.take.samplesPerFrame) - 1;
    this.sentAtMs.set(frame, performance.now());
    this.encoder.sendPacket(KIND_AUDIO, 0, 0, toInt16(chunk), this.samplesSent);
  }

  setLevels(levels) {
    this.encoder.setLevels(levels);
  }

  // Resolve when the last frame has been through; tells whether both ends hold the same tokens.
  async finish() {
    const closed = await this.encoder.finalize();
    await this.decoder.finalize();
    if (this.baseFrame > 0 || !crypto.subtle) return null;
    return closed.sha256 === (await tokensSha256(this.take.model, this.take.tokens));
  }

  abandon() {
    for (const session of [this.encoder, this.decoder]) if (session) session.abandon();
  }

  onTokens({ index, count, levels, payload }) {
    const codes = new Uint16Array(payload);
    const width = codesAt(this.take.model, levels);
    for (let i = 0; i < count; i++) {
      const frame = index + i;
      const isLost = isLostAt(this.baseFrame + frame, this.wish.lossShare);
      const own = codes.subarray(i * width, (i + 1) * width);
      this.take.tokens.append(own, levels, isLost);
      // A numbered packet and not a `lost` message: after a cut it is repeated like all others.
      const sent = isLost ? [0, 1, NO_PAYLOAD] : [levels, 1, own];
      this.decoder.sendPacket(KIND_TOKENS, ...sent, frame + 1);
    }
    this.encoder.confirm((index + count) * this.take.samplesPerFrame);
    this.handlers.onFrames(levels, count);
  }

  onAudio({ index, count, payload }) {
    const samples = toFloat(payload);
    this.take.decoded.write(this.baseSample + index, samples);
    const frame = Math.floor((index + count) / this.take.samplesPerFrame);
    this.decoder.confirm(frame);
    const sentAtMs = this.sentAtMs.get(frame);
    if (sentAtMs !== undefined) this.handlers.onDelay(performance.now() - sentAtMs);
    for (const old of this.sentAtMs.keys()) if (old <= frame) this.sentAtMs.delete(old);
    this.handlers.onDecoded(samples);
  }

  // What was spoken while there was no session has no tokens.
  fillTo(frame) {
    const { original, decoded, tokens } = this.take;
    const missing = this.baseSample - original.length;
    original.write(original.length, new Float32Array(missing));
    decoded.write(decoded.length, new Float32Array(Math.max(0, this.baseSample - decoded.length)));
    while (tokens.frames < frame) tokens.append([], 0, true);
  }
}

// Fill `take.tokens` at the highest level: the lower ones are its first codes.
export async function encodeFile(take, handlers, access) {
  const { model, original, rateHz, samplesPerFrame } = take;
  const width = codesAt(model, model.levels);
  const onPacket = ({ index, count, payload }) => {
    const codes = new Uint16Array(payload);
    for (let i = 0; i < count; i++) {
      take.tokens.append(codes.subarray(i * width, (i + 1) * width), model.levels, false);
    }
    session.confirm((index + count) * samplesPerFrame);
    handlers.onProgress(((index + count) * samplesPerFrame) / original.length);
  };
  const query = { mode: "encode", pace: "file", sample_rate: rateHz, model: model.sha256 };
  const session = new StreamSession(query, { ...handlers, onPacket }, access);
  await session.open();
  for (let start = 0; start < original.length; start += FILE_CHUNK_SAMPLES) {
    const end = Math.min(start + FILE_CHUNK_SAMPLES, original.length);
    await session.drained();
    session.sendPacket(KIND_AUDIO, 0, 0, toInt16(original.samples.subarray(start, end)), end);
  }
  await session.finalize();
}

// Return the audio of `take.tokens` as a receiver would hear it with these levels and this loss.
export async function decodeFile(take, wish, handlers, access, signal) {
  const { model, rateHz, samplesPerFrame, original } = take;
  const audio = new Float32Array(original.length);
  const onPacket = ({ index, count, payload }) => {
    const room = Math.max(0, audio.length - index);
    audio.set(toFloat(payload).subarray(0, room), Math.min(index, audio.length));
    session.confirm(Math.floor((index + count) / samplesPerFrame));
    handlers.onProgress((index + count) / original.length);
  };
  const query = { mode: "decode", pace: "file", sample_rate: rateHz, model: model.sha256 };
  const session = new StreamSession(query, { ...handlers, onPacket }, access);
  signal.addEventListener("abort", () => session.abandon());
  await session.open();
  for (const run of runs(take.tokens, wish)) {
    await session.drained();
    if (signal.aborted) return null;
    const payload = run.isLost ? NO_PAYLOAD : firstCodes(take, run, wish.levels);
    const levels = run.isLost ? 0 : wish.levels;
    session.sendPacket(KIND_TOKENS, levels, run.count, payload, run.start + run.count);
  }
  await session.finalize();
  return audio;
}

// Neighbouring frames that share one fate, at most a second of them.
function runs(tokens, wish) {
  const found = [];
  for (let frame = 0; frame < tokens.frames; frame++) {
    const isLost = isLostAt(frame, wish.lossShare);
    const last = found.at(-1);
    if (last && last.isLost === isLost && last.count < 50) last.count++;
    else found.push({ start: frame, count: 1, isLost });
  }
  return found;
}

function firstCodes(take, run, levels) {
  const width = codesAt(take.model, levels);
  const codes = new Uint16Array(run.count * width);
  for (let i = 0; i < run.count; i++) {
    codes.set(take.tokens.frame(run.start + i).subarray(0, width), i * width);
  }
  return codes;
}
