// Whole .grv files: audio into one, and one into audio.

import { checkModel } from "./container_header.js";
import { ContainerReader } from "./container_read.js";
import { MAX_TAIL_FRAMES } from "./container_records.js";
import { ContainerWriter } from "./container_write.js";
import { GroveCodecError } from "./errors.js";
import { FrameFeed, PcmDrain } from "./framing.js";
import { checkRate, joined, resampledSamples } from "./resample.js";
import { checkLevels } from "./spec.js";

/** Return the .grv file of mono samples as a Uint8Array: the bytes that `grove encode` writes. */
export async function encodeFile(graphs, samples, { sampleRate, levels, tags = {} } = {}) {
  const { spec } = graphs;
  const chosen = checkLevels(spec, levels ?? spec.levels);
  const rateHz = checkRate(sampleRate ?? spec.sample_rate_hz);
  const { levels: _, ...codec } = spec;
  const writer = new ContainerWriter({
    codec,
    channels: 1,
    source_sample_rate_hz: rateHz,
    source_channels: 1,
    tags,
  });
  const feed = new FrameFeed(spec, rateHz);
  const frames = joined(feed.push(samples), feed.finish());
  const { codes } = await graphs.encodeStep(frames, graphs.zeroState("encoder"));
  writer.write(codes, chosen);
  writer.close(feed.samples, feed.samplesIn);
  return writer.take();
}

/**
 * Return { channels, sampleRate, damage } of a .grv file: one Float32Array a channel, as long as the
 * original. `levels` drops what frames carry beyond it. Damage is concealed and listed.
 */
export async function decodeFile(graphs, compatible, bytes, { sampleRate, levels } = {}) {
  const reader = new ContainerReader(checkedBytes(bytes));
  const { header } = reader;
  checkModel(header, graphs.spec, compatible);
  const rateHz = checkRate(sampleRate ?? header.source_sample_rate_hz);
  const most = levels === undefined ? Infinity : checkLevels(graphs.spec, levels);
  const parts = Array.from({ length: header.channels }, () => []);
  let decoders = [];
  for (const event of reader.events()) {
    if (event.kind === "start") {
      decoders = parts.map(() => new SegmentDecoder(graphs, event.skipSamples, rateHz));
    } else if (event.kind === "block") {
      for (const [n, { codes, levels: kept }] of event.channels.entries()) {
        parts[n].push(await decoders[n].push(codes, kept.map((level) => Math.min(level, most))));
      }
    } else {
      const wanted = outputSamples(header, event, rateHz);
      decoders.forEach((decoder, n) => parts[n].push(decoder.finish(event.sampleCount, wanted)));
    }
  }
  return { channels: parts.map(concatenated), sampleRate: rateHz, damage: reader.damage };
}

// The last frames wait until the end of the segment says how many of their samples count.
class SegmentDecoder {
  constructor(graphs, skipSamples, rateHz) {
    this.graphs = graphs;
    this.state = graphs.zeroState("decoder");
    const holdSamples = MAX_TAIL_FRAMES * graphs.spec.hop_samples;
    this.drain = new PcmDrain(graphs.spec, rateHz, { skipSamples, holdSamples });
  }

  async push(codes, levels) {
    const { pcm, state } = await this.graphs.decodeStep(codes, levels, this.state);
    this.state = state;
    return this.drain.push(pcm);
  }

  finish(samples, outputSamples) {
    const missing = outputSamples - this.drain.sent;
    const rest = this.drain.finish(samples, outputSamples);
    // Counts of joined and cut files may ask for a few samples more than their frames yield.
    return joined(rest, new Float32Array(Math.max(0, missing - rest.length)));
  }
}

function outputSamples(header, segment, rateHz) {
  if (rateHz === header.codec.sample_rate_hz) return segment.sampleCount;
  return resampledSamples(segment.sourceSampleCount, header.source_sample_rate_hz, rateHz);
}

function checkedBytes(bytes) {
  if (bytes instanceof ArrayBuffer) return new Uint8Array(bytes);
  if (bytes instanceof Uint8Array) return bytes;
  throw new GroveCodecError("bad_file", "a .grv file is a Uint8Array or an ArrayBuffer");
}

function concatenated(parts) {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) {
    all.set(part, place);
    place += part.length;
  }
  return all;
}
