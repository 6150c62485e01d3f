// What surrounds the model: rates, framing, delay and length, as codec/stream.py has them.

import { GroveCodecError } from "./errors.js";
import { Resampler, joined } from "./resample.js";
import { framesFor } from "./spec.js";

/** Chunks of mono samples at any rate -> whole frames at the codec's rate. */
export class FrameFeed {
  constructor(spec, rateHz) {
    this.spec = spec;
    this.resampler = new Resampler(rateHz ?? spec.sample_rate_hz, spec.sample_rate_hz);
    this.pending = new Float32Array(0);
    this.frames = 0;
  }

  get samplesIn() {
    return this.resampler.samplesIn;
  }

  /** Samples so far at the codec's rate. */
  get samples() {
    return this.resampler.samplesOut;
  }

  push(chunk) {
    return this.framed(this.resampler.push(checkedSamples(chunk, this.samplesIn)));
  }

  /** The last frames, with zeros behind the end until the delay is flushed. */
  finish() {
    const frames = this.framed(this.resampler.finish());
    const missing = framesFor(this.spec, this.samples) - this.frames;
    const rest = new Float32Array(missing * this.spec.hop_samples);
    rest.set(this.pending);
    this.pending = new Float32Array(0);
    return joined(frames, rest);
  }

  framed(samples) {
    const all = this.pending.length ? joined(this.pending, samples) : samples;
    const whole = all.length - (all.length % this.spec.hop_samples);
    this.pending = all.slice(whole);
    this.frames += whole / this.spec.hop_samples;
    return all.subarray(0, whole);
  }
}

/** Decoded pcm at the codec's rate -> samples at any rate, without delay and excess. */
export class PcmDrain {
  constructor(spec, rateHz, { skipSamples = 0, holdSamples = 0 } = {}) {
    this.resampler = new Resampler(spec.sample_rate_hz, rateHz ?? spec.sample_rate_hz);
    this.skip = spec.delay_samples + skipSamples;
    this.hold = holdSamples;
    this.held = new Float32Array(0);
    this.sent = 0;
  }

  push(pcm) {
    const skipped = Math.min(this.skip, pcm.length);
    this.skip -= skipped;
    const ready = joined(this.held, pcm.subarray(skipped));
    const count = Math.max(0, ready.length - this.hold);
    this.held = ready.slice(count);
    return this.out(ready.subarray(0, count));
  }

  /** The rest, cut to `samples` at the codec's rate and to `outputSamples` at this one. */
  finish(samples = Infinity, outputSamples = Infinity) {
    const rest = this.held.subarray(0, Math.max(0, samples - this.resampler.samplesIn));
    const wanted = Math.max(0, outputSamples - this.sent);
    return joined(this.out(rest), this.resampler.finish()).slice(0, wanted);
  }

  out(pcm) {
    const converted = this.resampler.push(pcm);
    this.sent += converted.length;
    return converted;
  }
}

function checkedSamples(chunk, before) {
  if (chunk instanceof Int16Array) return Float32Array.from(chunk, (value) => value / 32_768);
  if (!(chunk instanceof Float32Array)) {
    const kind = chunk?.constructor?.name ?? typeof chunk;
    throw new GroveCodecError("bad_samples", `samples must be a Float32Array or an Int16Array, got ${kind}`);
  }
  for (let n = 0; n < chunk.length; n++) {
    if (!Number.isFinite(chunk[n])) {
      throw new GroveCodecError("bad_samples", `sample ${before + n} is ${chunk[n]}, expected a finite number`);
    }
  }
  return chunk;
}
