// The numbers that tokens, packets and files depend on, checked once.

import { GroveCodecError } from "./errors.js";

const NAME = /^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$/;
const SHA256 = /^[0-9a-f]{64}$/;
const KEYS = [
  "code_sizes",
  "codes_per_level",
  "delay_samples",
  "hop_samples",
  "model_sha256",
  "name",
  "sample_rate_hz",
  "version",
];
const LIMITS = {
  sample_rate_hz: [8_000, 96_000],
  hop_samples: [16, 96_000],
  delay_samples: [0, 96_000],
};

/** Return a frozen spec, with `levels`, or refuse it with `code`. */
export function checkedSpec(value, code) {
  const refuse = (what) => {
    throw new GroveCodecError(code, `codec spec: ${what}`);
  };
  if (!isRecord(value)) refuse("not an object");
  const keys = Object.keys(value).sort();
  if (keys.join() !== KEYS.join()) refuse(`has the keys ${keys}, expected ${KEYS}`);
  for (const key of ["name", "version"]) {
    if (!NAME.test(value[key])) refuse(`${key} is ${JSON.stringify(value[key])}`);
  }
  if (!SHA256.test(value.model_sha256)) refuse("model_sha256 is not 64 hex digits");
  for (const [key, [least, most]] of Object.entries(LIMITS)) {
    if (!isWithin(value[key], least, most)) refuse(`${key} is ${value[key]}, expected ${least} to ${most}`);
  }
  const { code_sizes: sizes, codes_per_level: perLevel } = value;
  if (!isList(sizes, 2, 65_536)) refuse("code_sizes must be 1 to 64 numbers in 2..65536");
  if (!isList(perLevel, 1, 64)) refuse("codes_per_level must be 1 to 64 numbers from 1");
  const sum = perLevel.reduce((total, count) => total + count, 0);
  if (sum !== sizes.length) refuse(`codes_per_level sums to ${sum}, there are ${sizes.length} code sizes`);
  return Object.freeze({ ...value, levels: perLevel.length });
}

/** How many codes a frame of `level` levels carries. */
export function codesAt(spec, level) {
  return spec.codes_per_level.slice(0, level).reduce((sum, count) => sum + count, 0);
}

/** The bits of each code of a frame of `level` levels. */
export function widthsAt(spec, level) {
  return spec.code_sizes.slice(0, codesAt(spec, level)).map((size) => 32 - Math.clz32(size - 1));
}

export function bitsAt(spec, level) {
  return widthsAt(spec, level).reduce((sum, width) => sum + width, 0);
}

/** How many bytes `frames` frames of one level take. */
export function packedBytes(spec, frames, level) {
  return Math.ceil((frames * bitsAt(spec, level)) / 8);
}

/** How many frames carry `samples` samples at the codec's rate, delay included. */
export function framesFor(spec, samples) {
  return samples ? Math.ceil((samples + spec.delay_samples) / spec.hop_samples) : 0;
}

export function checkLevels(spec, levels, least = 1) {
  if (!isWithin(levels, least, spec.levels)) {
    throw new GroveCodecError("bad_levels", `levels is ${levels}, expected ${least} to ${spec.levels} for ${spec.name}`);
  }
  return levels;
}

export function isRecord(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function isWithin(value, least, most) {
  return Number.isInteger(value) && value >= least && value <= most;
}

function isList(values, least, most) {
  const isSized = Array.isArray(values) && isWithin(values.length, 1, 64);
  return isSized && values.every((value) => isWithin(value, least, most));
}
