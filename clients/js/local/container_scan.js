// Bytes to records: finds every intact record of a container, whatever lies between them.

import { MAX_HEADER_BYTES, parseHeader } from "./container_header.js";
import {
  BLOCK_MARKER,
  BYTES,
  END_MAGIC,
  FOOTER_MARKER,
  MAGIC,
  MAX_BLOCK_FRAMES,
  MAX_FRAMES,
  MAX_INDEX_ENTRIES,
  MAX_SEGMENTS,
  RecordView,
  SEGMENT_END_MARKER,
  SEGMENT_START_MARKER,
  VERSION,
  countProblem,
  crc16,
  crc32,
  isIntact,
} from "./container_records.js";
import { GroveCodecError } from "./errors.js";
import { packedBytes } from "./spec.js";

/** Return { header, crc, offset }: what every record is checked against, and where the first may be. */
export function readHeader(bytes) {
  const refuse = (what) => {
    throw new GroveCodecError("bad_file", what);
  };
  if (!startsWith(bytes, MAGIC)) refuse("not a .grv file: its first bytes are others");
  if (bytes.length < BYTES.preamble) refuse(`the file ends after ${bytes.length} bytes, inside its header`);
  const preamble = new RecordView(bytes);
  if (preamble.u16(8) !== VERSION) refuse(`container version ${preamble.u16(8)}, this reader knows ${VERSION}`);
  if (preamble.u16(10) !== 0) refuse(`container flags are ${preamble.u16(10)}, expected 0`);
  const size = preamble.u32(12);
  if (size > MAX_HEADER_BYTES) refuse(`the header claims ${size} bytes, at most ${MAX_HEADER_BYTES}`);
  const total = BYTES.preamble + size + BYTES.checksum;
  if (bytes.length < total) refuse(`the file ends inside its header of ${total} bytes`);
  const body = bytes.subarray(0, BYTES.preamble + size);
  const crc = crc32(body);
  if (preamble.u32(body.length) !== crc) refuse("the header's checksum does not match: the file is damaged");
  return { header: parseHeader(body.subarray(BYTES.preamble)), crc, offset: total };
}

/** Yield every record in order, and the garbage between; ends with the footer or the bytes. */
export function* scanRecords(bytes, context) {
  let garbage = context.offset;
  let offset = context.offset;
  while ((offset = nextMarker(bytes, offset)) >= 0) {
    const record = recordAt(bytes, offset, context);
    if (record === null) {
      offset += 1;
      continue;
    }
    if (offset > garbage) yield { kind: "garbage", offset: garbage, bytes: offset - garbage };
    yield record;
    if (record.kind === "footer" && record.footer) return;
    offset += record.bytes;
    garbage = offset;
  }
  if (bytes.length > garbage) yield { kind: "garbage", offset: garbage, bytes: bytes.length - garbage };
}

function nextMarker(bytes, from) {
  for (let place = from; place + 4 <= bytes.length; place++) {
    place = bytes.indexOf(0xf5, place);
    if (place < 0 || place + 4 > bytes.length) return -1;
    if (bytes[place + 1] === 0x47 && bytes[place + 2] === 0x76) return place;
  }
  return -1;
}

function recordAt(bytes, offset, context) {
  const cut = (size) => (offset + size <= bytes.length ? bytes.subarray(offset, offset + size) : null);
  switch (new RecordView(bytes).u32(offset)) {
    case BLOCK_MARKER:
      return blockOf(cut, offset, context);
    case SEGMENT_START_MARKER:
      return startOf(cut(BYTES.segmentStart), offset, context);
    case SEGMENT_END_MARKER:
      return endOf(cut(BYTES.segmentEnd), offset, context);
    case FOOTER_MARKER:
      return footerOf(cut, offset, context, bytes);
    default:
      return null;
  }
}

function blockOf(cut, offset, { header, crc }) {
  const head = cut(BYTES.blockHeader);
  if (!head) return null;
  const said = new RecordView(head);
  const [channel, level, segment] = [said.u8(4), said.u8(5), said.u16(6)];
  const [firstFrame, frames] = [said.u32(8), said.u16(12)];
  const isGood =
    said.u16(14) === crc16(head.subarray(0, 14), crc & 0xffff) &&
    channel < header.channels &&
    level <= header.codec.levels &&
    segment < MAX_SEGMENTS &&
    frames >= 1 &&
    frames <= MAX_BLOCK_FRAMES &&
    firstFrame + frames <= MAX_FRAMES;
  if (!isGood) return null;
  const size = BYTES.blockHeader + packedBytes(header.codec, frames, level) + BYTES.checksum;
  const all = cut(size);
  if (!all) return null;
  // Its payload is null where the checksum does not match.
  const payload = isIntact(all, crc) ? all.subarray(BYTES.blockHeader, size - BYTES.checksum) : null;
  return { kind: "block", channel, level, segment, firstFrame, frames, payload, offset, bytes: size };
}

function startOf(record, offset, { crc }) {
  if (!record || !isIntact(record, crc)) return null;
  const said = new RecordView(record);
  if (said.u16(4) >= MAX_SEGMENTS) return null;
  return { kind: "start", number: said.u16(4), firstFrame: said.u32(6), skipSamples: said.u32(10), offset, bytes: record.length };
}

function endOf(record, offset, { crc }) {
  if (!record || !isIntact(record, crc)) return null;
  const said = new RecordView(record);
  if (said.u16(4) >= MAX_SEGMENTS) return null;
  const [sampleCount, sourceSampleCount] = [said.u64(10), said.u64(18)];
  return { kind: "end", number: said.u16(4), endFrame: said.u32(6), sampleCount, sourceSampleCount, offset, bytes: record.length };
}

function footerOf(cut, offset, context, file) {
  const head = cut(BYTES.footerHeader);
  if (!head) return null;
  const said = new RecordView(head);
  if (said.u16(22) !== crc16(head.subarray(0, 22), context.crc & 0xffff)) return null;
  const [segments, entries] = [said.u16(4), said.u32(6)];
  if (entries > MAX_INDEX_ENTRIES || segments > MAX_SEGMENTS) return null;
  const tables = segments * BYTES.segmentEntry + entries * BYTES.indexEntry;
  const size = BYTES.footerHeader + tables + BYTES.checksum;
  const all = cut(size);
  if (!all) return null;
  const footer = parsedFooter(all, offset, context);
  if (!footer) return { kind: "footer", footer: null, offset, bytes: size };
  const rest = file.subarray(offset + size);
  const hasTrailer = rest.length >= 12 && new RecordView(rest).u32(0) === size && startsWith(rest.subarray(4), END_MAGIC);
  const trailing = rest.length - (hasTrailer ? BYTES.trailer : 0);
  return { kind: "footer", footer, offset, bytes: size, hasTrailer, trailing };
}

function parsedFooter(bytes, offset, context) {
  const said = new RecordView(bytes);
  if (!isIntact(bytes, context.crc) || said.u64(14) !== offset) return null;
  const segments = [];
  let place = BYTES.footerHeader;
  let endFrame = 0;
  for (let n = 0; n < said.u16(4); n++, place += BYTES.segmentEntry) {
    const segment = {
      firstFrame: said.u32(place),
      endFrame: said.u32(place + 4),
      skipSamples: said.u32(place + 8),
      sampleCount: said.u64(place + 12),
      sourceSampleCount: said.u64(place + 20),
    };
    if (segment.firstFrame !== endFrame || segment.endFrame < endFrame) return null;
    if (countProblem(segment, context.header)) return null;
    endFrame = segment.endFrame;
    segments.push(segment);
  }
  const frames = said.u32(10);
  return endFrame === frames && isIndex(said, place, frames, offset) ? { segments, frames } : null;
}

function isIndex(said, start, frames, footerOffset) {
  let previous = { firstFrame: -1, offset: 0 };
  for (let n = 0; n < said.u32(6); n++) {
    const place = start + n * BYTES.indexEntry;
    const entry = { firstFrame: said.u32(place), offset: said.u64(place + 4) };
    if (entry.firstFrame <= previous.firstFrame || entry.offset <= previous.offset) return false;
    previous = entry;
  }
  return previous.firstFrame < frames && previous.offset < footerOffset;
}

function startsWith(bytes, start) {
  return bytes.length >= start.length && start.every((byte, n) => byte === bytes[n]);
}
