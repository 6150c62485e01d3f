// From audio to tokens to audio in this browser: the codec in a Worker, and the line that loses packets.

import { codesAt, isLostAt } from "./take.js";

const FILE_CHUNK_SAMPLES = 24000;
const RESAMPLER_MS = 3.1; // clients/js/local/resample.js

// The same to its owner as LivePath, but nothing leaves the page.
export class LocalPath {
  constructor(take, wish, handlers, codec) {
    this.take = take;
    this.wish = wish;
    this.handlers = handlers;
    this.codec = codec;
    this.samplesHeard = 0;
    this.work = Promise.resolve();
    this.sound = Promise.resolve();
    this.isOver = false;
  }

  async open() {
    const sampleRate = this.take.rateHz;
    this.encoder = this.codec.encoder({ sampleRate, levels: this.wish.levels });
    this.decoder = this.codec.decoder({ sampleRate });
    const isEqual = sampleRate === this.codec.spec.sample_rate_hz;
    return { delay: { algorithmic_ms: this.codec.delayMs, resampler_ms: isEqual ? 0 : RESAMPLER_MS } };
  }

  push(chunk) {
    this.take.original.write(this.take.original.length, chunk);
    const cameAtMs = performance.now();
    this.follow(this.encoder.push(chunk), cameAtMs);
  }

  setLevels(levels) {
    this.follow(this.encoder.setLevels(levels).then(() => []));
  }

  async finish() {
    this.follow(this.encoder.finish());
    await this.work;
    await this.sound;
    if (this.failure) throw this.failure;
    this.write(await this.decoder.finish());
    this.isOver = true;
    return null;
  }

  abandon() {
    this.isOver = true;
    this.encoder?.close();
    this.decoder?.close();
  }

  // Packets are taken in the order in which they were asked for.
  follow(made, cameAtMs) {
    made.catch(() => {}); // told below, in its turn
    this.work = this.work.then(() => this.guarded(async () => {
      for (const packet of await made) this.onPacket(packet, cameAtMs);
    }));
  }

  // Decoding is asked for at once: waiting for the sound before it would put it behind later chunks.
  onPacket({ index, level, bytes, codes }, cameAtMs) {
    const isLost = isLostAt(index, this.wish.lossShare);
    this.take.tokens.append(codes, level, isLost);
    this.handlers.onFrames(level, 1);
    const decoded = isLost ? this.decoder.lost(1) : this.decoder.push({ index, level, bytes });
    decoded.catch(() => {});
    this.sound = this.sound.then(() => this.guarded(async () => {
      this.write(await decoded);
      if (cameAtMs !== undefined) this.handlers.onDelay(performance.now() - cameAtMs);
    }));
  }

  async guarded(step) {
    if (this.isOver) return;
    try {
      await step();
    } catch (error) {
      if (this.isOver) return;
      this.failure = error;
      this.abandon();
      this.handlers.onFailure(error);
    }
  }

  write(samples) {
    if (samples.length === 0) return;
    this.take.decoded.write(this.samplesHeard, samples);
    this.samplesHeard += samples.length;
    this.handlers.onDecoded(samples);
  }
}

// Fill `take.tokens` at the highest level: the lower ones are its first codes.
export async function encodeHere(take, handlers, codec, signal) {
  const { original, rateHz, samplesPerFrame, model } = take;
  const encoder = codec.encoder({ sampleRate: rateHz });
  const keep = (packets) => packets.forEach(({ codes }) => take.tokens.append(codes, model.levels, false));
  for (let start = 0; start < original.length && !signal.aborted; start += FILE_CHUNK_SAMPLES) {
    const end = Math.min(start + FILE_CHUNK_SAMPLES, original.length);
    keep(await encoder.push(original.samples.slice(start, end)));
    handlers.onProgress((take.tokens.frames * samplesPerFrame) / original.length);
  }
  if (signal.aborted) encoder.close();
  else keep(await encoder.finish());
}

// Return the audio of `take.tokens` as a receiver would hear it with these levels and this loss.
export async function decodeHere(take, wish, handlers, codec, signal) {
  const { tokens, rateHz, original } = take;
  const decoder = codec.decoder({ sampleRate: rateHz });
  const audio = new Float32Array(original.length);
  let heard = 0;
  const write = (samples) => {
    audio.set(samples.subarray(0, Math.max(0, audio.length - heard)), Math.min(heard, audio.length));
    heard += samples.length;
  };
  for (let start = 0; start < tokens.frames && !signal.aborted; start += 50) {
    const packets = [];
    for (let frame = start; frame < Math.min(start + 50, tokens.frames); frame++) {
      packets.push(packetOf(take, frame, isLostAt(frame, wish.lossShare) ? 0 : wish.levels));
    }
    write(await decoder.push(packets));
    handlers.onProgress(heard / original.length);
  }
  if (signal.aborted) {
    decoder.close();
    return null;
  }
  write(await decoder.finish());
  return audio;
}

function packetOf(take, frame, level) {
  const codes = take.tokens.frame(frame).subarray(0, codesAt(take.model, level));
  return { index: frame, level, bytes: packed(take.model.code_sizes, codes) };
}

// A code takes just the bits its book needs, level 0 first.
function packed(sizes, codes) {
  const bits = Array.from(codes, (code, n) => code.toString(2).padStart(Math.ceil(Math.log2(sizes[n])), "0")).join("");
  return Uint8Array.from(bits.match(/.{1,8}/g) ?? [], (byte) => parseInt(byte.padEnd(8, "0"), 2));
}
