// Frames to a container, front to back: the bytes of codec/container/writer.py.

import { packFrames } from "./bits.js";
import { checkedHeader, headerJson } from "./container_header.js";
import {
  BLOCK_MARKER,
  BYTES,
  END_MAGIC,
  FOOTER_MARKER,
  MAGIC,
  MAX_FRAMES,
  MAX_INDEX_ENTRIES,
  RecordBuilder,
  SEGMENT_END_MARKER,
  SEGMENT_START_MARKER,
  VERSION,
  checkCounts,
  crc16,
  crc32,
} from "./container_records.js";
import { GroveCodecError } from "./errors.js";
import { checkLevels } from "./spec.js";

const BLOCK_FRAMES = 100;
const INDEX_SPACING_FRAMES = 1000;

/** Writes one segment of one channel; `close` returns the rest, and until then the file is unfinished but readable. */
export class ContainerWriter {
  constructor(header) {
    this.header = checkedHeader(header);
    this.spec = this.header.codec;
    this.parts = [];
    this.offset = 0;
    this.frames = 0;
    this.pending = []; // frames of codes [K], all of one level
    this.level = null;
    this.index = [];
    this.spacing = INDEX_SPACING_FRAMES;
    this.isClosed = false;
    this.begin();
  }

  /** Append frames of codes [T, K] at one level. */
  write(codes, level) {
    this.checkOpen();
    checkLevels(this.spec, level, 0);
    const books = this.spec.code_sizes.length;
    if (level !== this.level) this.writePending();
    this.level = level;
    for (let start = 0; start < codes.length; start += books) {
      this.pending.push(codes.slice(start, start + books));
      if (this.pending.length === BLOCK_FRAMES) this.writePending();
    }
  }

  /** End segment and file; the counts are samples at the codec's and at the source's rate. */
  close(sampleCount, sourceSampleCount = sampleCount) {
    this.checkOpen();
    this.writePending();
    const segment = { firstFrame: 0, endFrame: this.frames, skipSamples: 0, sampleCount, sourceSampleCount };
    checkCounts(segment, this.header);
    const end = new RecordBuilder(BYTES.segmentEnd).u32(SEGMENT_END_MARKER).u16(0).u32(this.frames);
    this.put(end.u64(sampleCount).u64(sourceSampleCount).sealed(this.crc));
    this.put(this.footer(segment));
    this.isClosed = true;
  }

  /** Return what was written since the last call, as one piece. */
  take() {
    const size = this.parts.reduce((sum, part) => sum + part.length, 0);
    const bytes = new Uint8Array(size);
    let place = 0;
    for (const part of this.parts) {
      bytes.set(part, place);
      place += part.length;
    }
    this.parts = [];
    return bytes;
  }

  begin() {
    const text = headerJson(this.header);
    const start = new RecordBuilder(BYTES.preamble + text.length + BYTES.checksum);
    start.put(MAGIC).u16(VERSION).u16(0).u32(text.length).put(text);
    this.crc = crc32(start.bytes.subarray(0, start.place));
    this.put(start.sealed(0));
    const segment = new RecordBuilder(BYTES.segmentStart).u32(SEGMENT_START_MARKER).u16(0).u32(0).u32(0);
    this.put(segment.sealed(this.crc));
  }

  writePending() {
    const count = this.pending.length;
    if (count === 0) return;
    if (this.frames + count > MAX_FRAMES) {
      throw new GroveCodecError("bad_file", `a file holds at most ${MAX_FRAMES} frames`);
    }
    const books = this.spec.code_sizes.length;
    const codes = new Uint16Array(count * books);
    this.pending.forEach((frame, n) => codes.set(frame, n * books));
    const payload = packFrames(this.spec, codes, this.level);
    this.note();
    const block = new RecordBuilder(BYTES.blockHeader + payload.length + BYTES.checksum);
    block.u32(BLOCK_MARKER).u8(0).u8(this.level).u16(0).u32(this.frames).u16(count);
    block.u16(crc16(block.bytes.subarray(0, block.place), this.crc & 0xffff)).put(payload);
    this.put(block.sealed(this.crc));
    this.frames += count;
    this.pending = [];
  }

  // A table to seek by, of bounded size: it grows coarser as the file grows longer.
  note() {
    const last = this.index.at(-1);
    if (last && this.frames - last.firstFrame < this.spacing) return;
    if (this.index.length === MAX_INDEX_ENTRIES) {
      this.index = this.index.filter((_, n) => n % 2 === 0);
      this.spacing *= 2;
    }
    this.index.push({ firstFrame: this.frames, offset: this.offset });
  }

  footer(segment) {
    const size = BYTES.footerHeader + BYTES.segmentEntry + this.index.length * BYTES.indexEntry + BYTES.checksum;
    const footer = new RecordBuilder(size);
    footer.u32(FOOTER_MARKER).u16(1).u32(this.index.length).u32(this.frames).u64(this.offset);
    footer.u16(crc16(footer.bytes.subarray(0, footer.place), this.crc & 0xffff));
    footer.u32(segment.firstFrame).u32(segment.endFrame).u32(segment.skipSamples);
    footer.u64(segment.sampleCount).u64(segment.sourceSampleCount);
    for (const { firstFrame, offset } of this.index) footer.u32(firstFrame).u64(offset);
    const sealed = footer.sealed(this.crc);
    return new RecordBuilder(size + BYTES.trailer).put(sealed).u32(size).put(END_MAGIC).bytes;
  }

  put(bytes) {
    this.parts.push(bytes);
    this.offset += bytes.length;
  }

  checkOpen() {
    if (this.isClosed) throw new GroveCodecError("closed", "the container is closed, nothing can be added");
  }
}
