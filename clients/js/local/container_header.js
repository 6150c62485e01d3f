// The header of a container: which model made the codes, and from what. BITSTREAM.md, section 2.

import { GroveCodecError } from "./errors.js";
import { checkedSpec, isRecord, isWithin } from "./spec.js";

export const MAX_HEADER_BYTES = 65_536;
const MAX_TAGS = 32;
const MAX_TAG_VALUE_CHARS = 512;
const MAX_SOURCE_RATE_HZ = 768_000;
const MAX_SOURCE_CHANNELS = 255;
const TAG_KEY = /^[a-z0-9][a-z0-9._-]{0,63}$/;
const UNPRINTABLE = /[^\P{C}]|[^\P{Z} ]/u;
const KEYS = ["channels", "codec", "source_channels", "source_sample_rate_hz", "tags"];

/** Return a checked header, its codec as a frozen spec. */
export function checkedHeader(value) {
  if (!isRecord(value)) refuse("not an object");
  const keys = Object.keys(value).sort();
  if (keys.join() !== KEYS.join()) refuse(`has the keys ${keys}, expected ${KEYS}`);
  if (!isWithin(value.channels, 1, 2)) refuse(`channels is ${value.channels}, expected 1 or 2`);
  if (!isWithin(value.source_sample_rate_hz, 1, MAX_SOURCE_RATE_HZ)) refuse("source_sample_rate_hz");
  if (!isWithin(value.source_channels, 1, MAX_SOURCE_CHANNELS)) refuse("source_channels");
  checkTags(value.tags);
  return { ...value, codec: checkedSpec(value.codec, "bad_file") };
}

/** The one canonical spelling: sorted keys, no spaces, ASCII. */
export function headerJson(header) {
  const { levels, ...codec } = header.codec; // `levels` follows from the rest, and is not written
  const text = canonical({ ...header, codec });
  if (text.length > MAX_HEADER_BYTES) {
    refuse(`takes ${text.length} bytes, at most ${MAX_HEADER_BYTES} fit`, "use fewer or shorter tags");
  }
  return new TextEncoder().encode(text);
}

/** Read a header; anything but the canonical spelling is refused. */
export function parseHeader(bytes) {
  let said;
  try {
    said = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    refuse(`is not valid JSON: ${error.message}`);
  }
  const header = checkedHeader(said);
  const spelt = headerJson(header);
  if (spelt.length !== bytes.length || spelt.some((byte, n) => byte !== bytes[n])) refuse("is not in canonical form");
  return header;
}

/** Refuse codes that the model of `spec` cannot decode; `compatible` lists hashes of more models. */
export function checkModel(header, spec, compatible) {
  const made = header.codec;
  if (made.model_sha256 !== spec.model_sha256 && !compatible.includes(made.model_sha256)) {
    throw new GroveCodecError(
      "foreign_model",
      `the file was made by ${made.name} ${made.version} (model ${made.model_sha256.slice(0, 12)}), ` +
        `this is ${spec.name} ${spec.version} (model ${spec.model_sha256.slice(0, 12)})`,
      "use the bundle that encoded the file",
    );
  }
  if (layout(made) !== layout(spec)) {
    throw new GroveCodecError("foreign_model", `the file's frames are laid out as ${layout(made)}, the model's as ${layout(spec)}`);
  }
}

function checkTags(tags) {
  if (!isRecord(tags) || Object.keys(tags).length > MAX_TAGS) refuse(`tags must be at most ${MAX_TAGS} texts`);
  for (const [key, value] of Object.entries(tags)) {
    if (!TAG_KEY.test(key)) refuse(`tag key ${JSON.stringify(key)} must match ${TAG_KEY.source}`);
    const isGood = typeof value === "string" && [...value].length <= MAX_TAG_VALUE_CHARS && !UNPRINTABLE.test(value);
    if (!isGood) refuse(`tag ${key} must have at most ${MAX_TAG_VALUE_CHARS} printable characters`);
  }
}

function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (isRecord(value)) {
    const keys = Object.keys(value).sort();
    return `{${keys.map((key) => `${canonical(key)}:${canonical(value[key])}`).join()}}`;
  }
  return JSON.stringify(value).replace(
    /[\u0080-\uffff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function layout(spec) {
  return (
    `${spec.sample_rate_hz} Hz, hop ${spec.hop_samples}, delay ${spec.delay_samples}, ` +
    `books ${spec.code_sizes}, codes per level ${spec.codes_per_level}`
  );
}

function refuse(what, hint = undefined) {
  throw new GroveCodecError("bad_file", `container header ${what}`, hint);
}
