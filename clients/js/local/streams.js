// One stream of samples to packets, or of packets to samples. A stream that failed is closed.

import { codesOfLevel, packFrames, unpackFrames } from "./bits.js";
import { GroveCodecError } from "./errors.js";
import { FrameFeed, PcmDrain } from "./framing.js";
import { checkLevels, isRecord, isWithin, packedBytes } from "./spec.js";

const MOST_LOST_FRAMES = 1500;

// Calls are served one after another in the order they came, also where nobody waits in between.
class Stream {
  constructor() {
    this.queue = Promise.resolve();
    this.fault = null;
  }

  inTurn(work) {
    const turn = this.queue.then(async () => {
      if (this.fault) throw new GroveCodecError("closed", `the stream is closed: ${this.fault}`);
      try {
        return await work();
      } catch (error) {
        this.shut(error.message);
        throw error;
      }
    });
    this.queue = turn.catch(() => {});
    return turn;
  }

  /** Leave, and let go of the stream's memory. */
  close() {
    this.shut("it was left");
  }

  shut(reason) {
    this.fault ??= reason;
    this.state = null;
  }
}

/** Samples -> packets { index, level, bytes, codes }, one for each frame. */
export class Encoder extends Stream {
  constructor(graphs, { sampleRate, levels } = {}) {
    super();
    this.graphs = graphs;
    this.spec = graphs.spec;
    this.feed = new FrameFeed(this.spec, sampleRate);
    this.state = graphs.zeroState("encoder");
    this.index = 0;
    this.levels = checkLevels(this.spec, levels ?? this.spec.levels);
  }

  /** Samples taken so far at the codec's rate; after `finish`, of the whole stream. */
  get samples() {
    return this.feed.samples;
  }

  get samplesIn() {
    return this.feed.samplesIn;
  }

  /** Holds for frames completed by samples pushed from now on. */
  setLevels(levels) {
    checkLevels(this.spec, levels);
    return this.inTurn(() => {
      this.levels = levels;
    });
  }

  /** Return the packets that mono samples, a Float32Array or an Int16Array, complete. */
  push(samples) {
    // A copy: the caller may use its buffer again before the turn comes.
    const own = ArrayBuffer.isView(samples) ? samples.slice() : samples;
    return this.inTurn(async () => this.packets(await this.step(this.feed.push(own))));
  }

  /** Leave out samples in order to be on time: packets are numbered as if they had been encoded. */
  skip(samples) {
    return this.inTurn(() => {
      const seconds = samples / this.feed.resampler.fromHz;
      this.index += Math.round((seconds * this.spec.sample_rate_hz) / this.spec.hop_samples);
    });
  }

  /** Return the last packets; the stream is closed then. */
  finish() {
    return this.inTurn(async () => {
      const packets = this.packets(await this.step(this.feed.finish()));
      this.shut("it was finished");
      return packets;
    });
  }

  async step(frames) {
    const { codes, state } = await this.graphs.encodeStep(frames, this.state);
    this.state = this.fault ? null : state;
    return codes;
  }

  packets(codes) {
    const books = this.spec.code_sizes.length;
    const packets = [];
    for (let start = 0; start < codes.length; start += books) {
      const frame = codes.subarray(start, start + books);
      packets.push({
        index: this.index++,
        level: this.levels,
        bytes: packFrames(this.spec, frame, this.levels),
        codes: codesOfLevel(this.spec, frame, this.levels),
      });
    }
    return packets;
  }
}

/** Packets -> samples. What is missing between two packets is concealed. */
export class Decoder extends Stream {
  constructor(graphs, { sampleRate, holdEnd = false } = {}) {
    super();
    this.graphs = graphs;
    this.spec = graphs.spec;
    // Where the length is known only at the end, what may be cut off is kept back.
    this.drain = new PcmDrain(this.spec, sampleRate, { holdSamples: holdEnd ? this.spec.hop_samples - 1 : 0 });
    this.state = graphs.zeroState("decoder");
    this.index = 0;
  }

  /**
   * Return the samples of a packet, { index, level, bytes }, or of several. One that comes after its
   * time gives none; frames between the last packet and this one count as lost.
   */
  push(packets) {
    const list = Array.isArray(packets) ? packets : [packets];
    return this.inTurn(async () => this.drain.push(await this.step(this.frames(list))));
  }

  /** Return what conceals the next `count` frames. */
  lost(count = 1) {
    return this.inTurn(async () => {
      if (!isWithin(count, 0, MOST_LOST_FRAMES)) {
        throw new GroveCodecError("bad_packet", `${count} frames lost, expected 0 to ${MOST_LOST_FRAMES}`);
      }
      this.index += count;
      return this.drain.push(await this.step(silentFrames(this.spec, count)));
    });
  }

  /** Return the rest, so that no more than `samples` came in all; the stream is closed then. */
  finish(samples = Infinity) {
    return this.inTurn(() => {
      const rest = this.drain.finish(Infinity, samples);
      this.shut("it was finished");
      return rest;
    });
  }

  frames(packets) {
    const codes = [];
    const levels = [];
    let next = this.index;
    for (const packet of packets) {
      const { index, level, bytes } = checkedPacket(this.spec, packet);
      const place = index ?? next;
      if (place < next) continue;
      if (place - next > MOST_LOST_FRAMES) {
        const found = `packet ${place} came where ${next} was next: more than ${MOST_LOST_FRAMES} frames are lost`;
        throw new GroveCodecError("bad_packet", found);
      }
      const gap = silentFrames(this.spec, place - next);
      codes.push(...gap.codes, ...unpackFrames(this.spec, bytes, 1, level));
      levels.push(...gap.levels, level);
      next = place + 1;
    }
    this.index = next;
    return { codes: Uint16Array.from(codes), levels: Uint8Array.from(levels) };
  }

  async step({ codes, levels }) {
    const { pcm, state } = await this.graphs.decodeStep(codes, levels, this.state);
    this.state = this.fault ? null : state;
    return pcm;
  }
}

function silentFrames(spec, count) {
  return { codes: new Uint16Array(count * spec.code_sizes.length), levels: new Uint8Array(count) };
}

function checkedPacket(spec, packet) {
  if (!isRecord(packet) || !(packet.bytes instanceof Uint8Array)) {
    throw new GroveCodecError("bad_packet", "a packet is { index, level, bytes }, bytes being a Uint8Array");
  }
  const { index, level, bytes } = packet;
  if (index !== undefined && !isWithin(index, 0, 2 ** 32 - 1)) {
    throw new GroveCodecError("bad_packet", `index is ${index}, expected 0 to ${2 ** 32 - 1}`);
  }
  if (!isWithin(level, 0, spec.levels)) {
    throw new GroveCodecError("bad_packet", `level is ${level}, expected 0 to ${spec.levels}`);
  }
  const expected = packedBytes(spec, 1, level);
  if (bytes.length !== expected) {
    throw new GroveCodecError("bad_packet", `a packet of level ${level} has ${expected} bytes, got ${bytes.length}`);
  }
  return packet;
}
