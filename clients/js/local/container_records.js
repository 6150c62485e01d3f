// The records of a container, byte for byte as BITSTREAM.md lays them down. All big-endian.

import { GroveCodecError } from "./errors.js";

export const VERSION = 1;
export const MAGIC = Uint8Array.of(0x89, 0x47, 0x52, 0x56, 0x0d, 0x0a, 0x1a, 0x0a);
export const END_MAGIC = Uint8Array.of(0x47, 0x52, 0x56, 0x45, 0x4e, 0x44, 0x0d, 0x0a);
const MARKER_PREFIX = 0xf54776;
export const BLOCK_MARKER = ((MARKER_PREFIX << 8) | 0x42) >>> 0;
export const SEGMENT_START_MARKER = ((MARKER_PREFIX << 8) | 0x53) >>> 0;
export const SEGMENT_END_MARKER = ((MARKER_PREFIX << 8) | 0x45) >>> 0;
export const FOOTER_MARKER = ((MARKER_PREFIX << 8) | 0x46) >>> 0;

export const BYTES = Object.freeze({
  preamble: 16,
  blockHeader: 16,
  segmentStart: 18,
  segmentEnd: 30,
  footerHeader: 24,
  segmentEntry: 28,
  indexEntry: 12,
  checksum: 4,
  trailer: 12,
});

export const MAX_BLOCK_FRAMES = 1024;
export const MAX_FRAMES = 2 ** 32 - 1;
export const MAX_SEGMENTS = 65_535;
export const MAX_INDEX_ENTRIES = 65_536;
export const MAX_TAIL_FRAMES = 4;
const MAX_SOURCE_DRIFT_SAMPLES = 4;

const CRC32_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

/** The CRC-32 of zlib, continued from `start`. */
export function crc32(bytes, start = 0) {
  let crc = ~start;
  for (const byte of bytes) crc = (crc >>> 8) ^ CRC32_TABLE[(crc ^ byte) & 0xff];
  return ~crc >>> 0;
}

/** CRC-16/XMODEM, continued from `start`. */
export function crc16(bytes, start) {
  let crc = start;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : crc << 1;
  }
  return crc;
}

/** Numbers to bytes, one behind the other. */
export class RecordBuilder {
  constructor(bytes) {
    this.bytes = new Uint8Array(bytes);
    this.view = new DataView(this.bytes.buffer);
    this.place = 0;
  }

  u8(value) {
    this.view.setUint8(this.place, value);
    this.place += 1;
    return this;
  }

  u16(value) {
    this.view.setUint16(this.place, value);
    this.place += 2;
    return this;
  }

  u32(value) {
    this.view.setUint32(this.place, value);
    this.place += 4;
    return this;
  }

  u64(value) {
    this.view.setBigUint64(this.place, BigInt(value));
    this.place += 8;
    return this;
  }

  put(bytes) {
    this.bytes.set(bytes, this.place);
    this.place += bytes.length;
    return this;
  }

  /** The record with the header's crc continued over it. */
  sealed(crc) {
    return this.u32(crc32(this.bytes.subarray(0, this.place), crc)).bytes;
  }
}

/** Bytes to numbers. Counts above 2^53 cannot be; they stay as large as they can be told. */
export class RecordView {
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u8(place) {
    return this.view.getUint8(place);
  }

  u16(place) {
    return this.view.getUint16(place);
  }

  u32(place) {
    return this.view.getUint32(place);
  }

  u64(place) {
    return Number(this.view.getBigUint64(place));
  }
}

export function isIntact(bytes, crc) {
  const body = bytes.subarray(0, bytes.length - BYTES.checksum);
  return new RecordView(bytes).u32(body.length) === crc32(body, crc);
}

/** How many samples a segment's frames decode to, after delay and skip. */
export function availableSamples(spec, segment) {
  const decoded = (segment.endFrame - segment.firstFrame) * spec.hop_samples;
  return Math.max(0, decoded - spec.delay_samples - segment.skipSamples);
}

/** Say what is wrong with a segment's sample counts, or return null. */
export function countProblem(segment, header) {
  const spec = header.codec;
  const tail = availableSamples(spec, segment) - segment.sampleCount;
  if (tail < 0 || tail > MAX_TAIL_FRAMES * spec.hop_samples) {
    return `${segment.endFrame - segment.firstFrame} frames cannot stand for ${segment.sampleCount} samples`;
  }
  const sourceHz = header.source_sample_rate_hz;
  const codecHz = spec.sample_rate_hz;
  const ahead = BigInt(segment.sourceSampleCount) * BigInt(codecHz) - BigInt(segment.sampleCount) * BigInt(sourceHz);
  const drift = ahead < 0n ? -ahead : ahead;
  if (drift > BigInt(MAX_SOURCE_DRIFT_SAMPLES * Math.max(sourceHz, codecHz))) {
    return (
      `${segment.sourceSampleCount} samples at ${sourceHz} Hz do not last as long as ` +
      `${segment.sampleCount} samples at ${codecHz} Hz`
    );
  }
  return null;
}

export function checkCounts(segment, header) {
  const problem = countProblem(segment, header);
  if (problem) throw new GroveCodecError("bad_file", problem);
}

/** How many samples at the source's rate last as long, rounded half up. */
export function scaledSampleCount(samples, header) {
  const codecHz = BigInt(header.codec.sample_rate_hz);
  return Number((2n * BigInt(samples) * BigInt(header.source_sample_rate_hz) + codecHz) / (2n * codecHz));
}
