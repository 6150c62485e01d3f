// Records to frames in order: gaps become zero-level frames, and everything wrong is reported.

import { unpackFrames } from "./bits.js";
import { MAX_BLOCK_FRAMES, availableSamples, countProblem, scaledSampleCount } from "./container_records.js";
import { readHeader, scanRecords } from "./container_scan.js";

const MAX_GAP_FRAMES = 65_536;
const MAX_GAP_FRAMES_PER_LOST_BYTE = 8;
const MAX_DAMAGE_RECORDS = 1000;

/** One pass over the bytes of a file; `damage` is complete after it. */
export class ContainerReader {
  constructor(bytes) {
    this.bytes = bytes;
    this.context = readHeader(bytes);
    this.header = this.context.header;
    this.damage = []; // { reason, detail, firstFrame, frames, channel }
  }

  /** Yield segment starts, blocks of frames and segment ends, in order. */
  events() {
    return new Assembler(this.context, this.damage).assemble(scanRecords(this.bytes, this.context));
  }
}

class Assembler {
  constructor(context, damage) {
    this.header = context.header;
    this.spec = context.header.codec;
    this.damage = damage;
    this.known = []; // segments that the footer names
    this.segment = -1;
    this.isOpen = false;
    this.firstFrame = 0;
    this.skipSamples = 0;
    this.isSkipKnown = true;
    this.nextFrame = 0;
    this.lostBytes = 0;
    this.missingFrames = 0;
    this.group = null; // the blocks of all channels for the same frames
  }

  *assemble(records) {
    for (const record of records) {
      yield* this.feed(record);
      if (record.kind === "footer" && record.footer) return;
    }
    yield* this.flush();
    this.report("unfinished", `the file ends after frame ${this.nextFrame} without its footer`);
    yield* this.leave(this.nextFrame);
  }

  *feed(record) {
    switch (record.kind) {
      case "garbage":
        this.lostBytes += record.bytes;
        this.report("garbage", `${record.bytes} bytes at byte ${record.offset} are no intact record`);
        break;
      case "block":
        yield* this.onBlock(record);
        break;
      case "start":
        yield* this.onStart(record);
        break;
      case "end":
        yield* this.onEnd(record);
        break;
      default:
        yield* this.onFooter(record);
    }
  }

  *onBlock(block) {
    if (this.group && belongs(block, this.group)) {
      this.group.blocks[block.channel] = block;
      if (this.group.blocks.every(Boolean)) yield* this.flush();
      return;
    }
    yield* this.flush();
    if (block.segment > this.segment) yield* this.enter(block.segment, block.firstFrame, null);
    const isInOrder =
      this.isOpen &&
      block.segment === this.segment &&
      block.firstFrame >= this.nextFrame &&
      this.isPlausible(block.firstFrame);
    if (!isInOrder) {
      this.report("order", `block of frame ${block.firstFrame} at byte ${block.offset} is out of place, not used`);
      return;
    }
    yield* this.fill(block.firstFrame);
    const blocks = new Array(this.header.channels).fill(null);
    this.group = { segment: block.segment, firstFrame: block.firstFrame, frames: block.frames, blocks };
    blocks[block.channel] = block;
    if (blocks.length === 1) yield* this.flush();
  }

  *onStart(record) {
    yield* this.flush();
    if (record.number <= this.segment || record.firstFrame < this.nextFrame) {
      this.report("order", `start of segment ${record.number} at byte ${record.offset} is out of place, not used`);
      return;
    }
    yield* this.enter(record.number, record.firstFrame, record.skipSamples);
  }

  *onEnd(record) {
    yield* this.flush();
    if (record.number > this.segment) yield* this.enter(record.number, this.nextFrame, null);
    const isStale = record.number < this.segment || !this.isOpen;
    if (isStale || record.endFrame < this.nextFrame || !this.isPlausible(record.endFrame)) {
      this.report("order", `end of segment ${record.number} at byte ${record.offset} is out of place, not used`);
      return;
    }
    yield* this.fill(record.endFrame);
    yield this.closed(record.sampleCount, record.sourceSampleCount);
  }

  *onFooter(record) {
    yield* this.flush();
    const { footer } = record;
    if (footer === null) {
      this.lostBytes += record.bytes;
      this.report("index", `the footer at byte ${record.offset} is damaged`);
      return;
    }
    this.known = footer.segments;
    yield* this.leave(footer.frames);
    while (this.segment + 1 < this.known.length) {
      yield this.begin(this.segment + 1, null);
      yield* this.leave(footer.frames);
    }
    if (footer.frames !== this.nextFrame || footer.segments.length !== this.segment + 1) {
      this.report("index", `the footer states ${footer.frames} frames, found ${this.nextFrame}`);
    }
    if (!record.hasTrailer) this.report("index", "the trailer behind the footer is missing or damaged");
    if (record.trailing) this.report("trailing", `${record.trailing} bytes follow the end of the file, not used`);
  }

  // Begin a segment, after what is missing before it.
  *enter(number, firstFrame, skipSamples) {
    yield* this.leave(firstFrame);
    while (this.segment + 1 < number) {
      yield this.begin(this.segment + 1, null);
      yield* this.leave(firstFrame);
    }
    yield this.begin(number, skipSamples);
  }

  begin(number, skipSamples) {
    this.segment = number;
    this.isOpen = true;
    this.isSkipKnown = true;
    if (skipSamples === null) {
      const known = this.known[number];
      this.isSkipKnown = known !== undefined;
      skipSamples = known?.skipSamples ?? 0;
      this.report("segment", `the start of segment ${number} is lost`);
    }
    this.firstFrame = this.nextFrame;
    this.skipSamples = skipSamples;
    return { kind: "start", number, firstFrame: this.nextFrame, skipSamples };
  }

  // Close the open segment, whose end record is lost.
  *leave(nextSegmentFrame) {
    if (!this.isOpen) return;
    const known = this.known[this.segment];
    const endFrame = known?.endFrame ?? nextSegmentFrame;
    if (this.isPlausible(endFrame)) yield* this.fill(endFrame);
    this.report("segment", `the end of segment ${this.segment} is lost`);
    yield this.closed(known?.sampleCount ?? null, known?.sourceSampleCount ?? 0);
  }

  // Counts that cannot be are replaced by what the frames hold.
  closed(sampleCount, sourceSampleCount) {
    this.isOpen = false;
    const frames = { firstFrame: this.firstFrame, endFrame: this.nextFrame, skipSamples: this.skipSamples };
    if (sampleCount !== null && this.isSkipKnown) {
      const segment = { ...frames, sampleCount, sourceSampleCount };
      const known = this.known[this.segment];
      if (known && Object.keys(known).some((key) => known[key] !== segment[key])) {
        this.report("index", `the index gives segment ${this.segment} otherwise`);
      }
      const problem = countProblem(segment, this.header);
      if (problem === null) return { kind: "end", number: this.segment, ...segment, isExact: true };
      this.report("segment", `segment ${this.segment}: ${problem}`);
    }
    const available = availableSamples(this.spec, frames);
    const source = scaledSampleCount(available, this.header);
    return { kind: "end", number: this.segment, ...frames, sampleCount: available, sourceSampleCount: source, isExact: false };
  }

  // Level 0 would let a few bytes claim days.
  isPlausible(frame) {
    const bound = MAX_GAP_FRAMES + MAX_GAP_FRAMES_PER_LOST_BYTE * this.lostBytes;
    return this.missingFrames + frame - this.nextFrame <= bound;
  }

  *fill(frame) {
    const missing = frame - this.nextFrame;
    if (missing > 0) {
      this.missingFrames += missing;
      this.report("missing", "no block holds these frames", this.nextFrame, missing);
    }
    while (this.nextFrame < frame) yield this.emptyBlock(Math.min(frame - this.nextFrame, MAX_BLOCK_FRAMES));
  }

  // Codes [T, K] and levels [T] of each channel, level 0 where frames are lost.
  emptyBlock(frames) {
    const channels = Array.from({ length: this.header.channels }, () => ({
      codes: new Uint16Array(frames * this.spec.code_sizes.length),
      levels: new Uint8Array(frames),
    }));
    const block = { kind: "block", segment: this.segment, firstFrame: this.nextFrame, frames, channels };
    this.nextFrame += frames;
    return block;
  }

  *flush() {
    const { group } = this;
    this.group = null;
    if (!group) return;
    const block = this.emptyBlock(group.frames);
    group.blocks.forEach((record, channel) => this.unpackInto(block, channel, record));
    yield block;
  }

  unpackInto(block, channel, record) {
    const place = [block.firstFrame, block.frames, channel];
    if (record === null) {
      this.report("missing", "the channel's block is missing", ...place);
    } else if (record.payload === null) {
      this.report("checksum", `the block at byte ${record.offset} is damaged`, ...place);
    } else {
      try {
        const codes = unpackFrames(this.spec, record.payload, record.frames, record.level, "bad_file");
        block.channels[channel] = { codes, levels: new Uint8Array(record.frames).fill(record.level) };
      } catch (error) {
        this.report("codes", `byte ${record.offset}: ${error.message}`, ...place);
      }
    }
  }

  report(reason, detail, firstFrame = 0, frames = 0, channel = null) {
    if (this.damage.length < MAX_DAMAGE_RECORDS) this.damage.push({ reason, detail, firstFrame, frames, channel });
  }
}

function belongs(block, group) {
  const isSame = ["segment", "firstFrame", "frames"].every((key) => block[key] === group[key]);
  return isSame && group.blocks[block.channel] === null;
}
