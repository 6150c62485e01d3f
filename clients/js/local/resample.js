// Streaming conversion between sample rates: a windowed sinc, the same for any chunking.

import { GroveCodecError } from "./errors.js";
import { isWithin } from "./spec.js";

const MIN_RATE_HZ = 8_000;
const MAX_RATE_HZ = 192_000;
// 100 dB down at the slower rate's half, flat up to 91 % of it; soxr's HQ, which the service uses, does the same.
const HALF_CROSSINGS = 74;
const CUTOFF = 0.956;
const KAISER_BETA = 10.06;
const STEPS_PER_CROSSING = 1024;
const MOST_KEPT_TAPS = 1 << 20;

export function checkRate(rateHz) {
  if (!isWithin(rateHz, MIN_RATE_HZ, MAX_RATE_HZ)) {
    throw new GroveCodecError("bad_rate", `sample rate is ${rateHz} Hz, expected ${MIN_RATE_HZ} to ${MAX_RATE_HZ}`);
  }
  return rateHz;
}

/** ceil(samples * to / from): what covers the same time, never less. */
export function resampledSamples(samples, fromHz, toHz) {
  return Number((BigInt(samples) * BigInt(toHz) + BigInt(fromHz) - 1n) / BigInt(fromHz));
}

/**
 * One stream at one rate, turned into another; sample 0 stays at time 0, and n samples in all give
 * `resampledSamples(n)` out. Output follows input by 74 samples of the slower rate: 3.1 ms at 24 kHz.
 */
export class Resampler {
  constructor(fromHz, toHz) {
    this.fromHz = checkRate(fromHz);
    this.toHz = checkRate(toHz);
    this.samplesIn = 0;
    this.samplesOut = 0;
    const shared = greatestDivisor(fromHz, toHz);
    this.step = fromHz / shared; // of the input, in parts of 1 / `parts` samples
    this.parts = toHz / shared;
    this.kernel = fromHz === toHz ? null : new Kernel(this.step, this.parts);
    // Zeros stand for what lies before the start.
    this.held = new Float32Array(this.kernel ? this.kernel.reach - 1 : 0);
    this.heldFrom = -this.held.length; // the input's number of the first sample held
  }

  push(samples) {
    this.samplesIn += samples.length;
    if (!this.kernel) {
      this.samplesOut += samples.length;
      return samples.slice();
    }
    this.held = joined(this.held, samples);
    const complete = this.samplesIn - this.kernel.reach; // centres before this one have all of their right side
    return this.made(Math.max(this.samplesOut, Math.ceil((complete * this.parts) / this.step)));
  }

  finish() {
    if (!this.kernel) return new Float32Array(0);
    this.held = joined(this.held, new Float32Array(this.kernel.reach));
    return this.made(resampledSamples(this.samplesIn, this.fromHz, this.toHz));
  }

  // Return the output up to its sample `end`, and let go of input that is no longer needed.
  made(end) {
    const out = new Float32Array(end - this.samplesOut);
    for (let n = 0; n < out.length; n++) {
      const place = (this.samplesOut + n) * this.step;
      const centre = Math.floor(place / this.parts);
      out[n] = this.kernel.at(place % this.parts, this.held, centre - this.heldFrom);
    }
    this.samplesOut = end;
    const next = Math.floor((end * this.step) / this.parts) - this.kernel.reach + 1;
    const done = Math.min(Math.max(0, next - this.heldFrom), this.held.length);
    this.held = this.held.slice(done);
    this.heldFrom += done;
    return out;
  }
}

class Kernel {
  constructor(step, parts) {
    this.parts = parts;
    this.scale = Math.min(1, parts / step); // of the cut-off, where the output is slower
    this.reach = Math.ceil(HALF_CROSSINGS / this.scale);
    this.kept = parts * 2 * this.reach <= MOST_KEPT_TAPS ? new Map() : null;
  }

  at(part, samples, centre) {
    const taps = this.taps(part);
    const first = centre - this.reach + 1;
    let sum = 0;
    for (let k = 0; k < taps.length; k++) sum += taps[k] * samples[first + k];
    return sum;
  }

  taps(part) {
    const kept = this.kept?.get(part);
    if (kept) return kept;
    const taps = new Float64Array(2 * this.reach);
    for (let k = 0; k < taps.length; k++) {
      const distance = Math.abs(k - this.reach + 1 - part / this.parts);
      taps[k] = this.scale * windowedSinc(distance * this.scale);
    }
    this.kept?.set(part, taps);
    return taps;
  }
}

let table = null;

function windowedSinc(crossings) {
  table ??= sincTable();
  const place = crossings * STEPS_PER_CROSSING;
  const index = Math.floor(place);
  if (index + 1 >= table.length) return 0;
  return table[index] + (place - index) * (table[index + 1] - table[index]);
}

function sincTable() {
  const values = new Float64Array(HALF_CROSSINGS * STEPS_PER_CROSSING + 1);
  const full = bessel(KAISER_BETA);
  for (let n = 0; n < values.length; n++) {
    const x = n / STEPS_PER_CROSSING;
    const sinc = n === 0 ? CUTOFF : Math.sin(Math.PI * CUTOFF * x) / (Math.PI * x);
    values[n] = (sinc * bessel(KAISER_BETA * Math.sqrt(1 - (x / HALF_CROSSINGS) ** 2))) / full;
  }
  return values;
}

// The modified Bessel function of order 0, which makes Kaiser's window.
function bessel(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; term > 1e-17 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function greatestDivisor(a, b) {
  return b === 0 ? a : greatestDivisor(b, a % b);
}

export function joined(first, second) {
  const both = new Float32Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
