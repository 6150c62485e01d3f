// What is being looked at: one recording or file, before and after the codec, and its tokens.

export class Track {
  constructor() {
    this.samples = new Float32Array(1 << 16);
    this.length = 0;
  }

  // What lies between the end and `position` becomes silence.
  write(position, samples) {
    const end = position + samples.length;
    if (end > this.samples.length) {
      const grown = new Float32Array(Math.max(end, 2 * this.samples.length));
      grown.set(this.samples.subarray(0, this.length));
      this.samples = grown;
    }
    this.samples.set(samples, position);
    this.length = Math.max(this.length, end);
  }

  values() {
    return this.samples.subarray(0, this.length);
  }
}

export class TokenTrack {
  constructor(codesPerFrame) {
    this.codesPerFrame = codesPerFrame;
    this.codes = new Uint16Array(512 * codesPerFrame);
    this.levels = new Uint8Array(512); // as sent; 0 where nothing was made
    this.lost = new Uint8Array(512);
    this.frames = 0;
  }

  append(codes, levels, isLost) {
    if (this.frames === this.levels.length) this.grow();
    this.codes.set(codes, this.frames * this.codesPerFrame);
    this.levels[this.frames] = levels;
    this.lost[this.frames] = isLost ? 1 : 0;
    this.frames++;
  }

  frame(index) {
    return this.codes.subarray(index * this.codesPerFrame, (index + 1) * this.codesPerFrame);
  }

  grow() {
    this.codes = enlarged(this.codes);
    this.levels = enlarged(this.levels);
    this.lost = enlarged(this.lost);
  }
}

export class Take {
  constructor(model, rateHz, name) {
    this.model = model;
    this.rateHz = rateHz;
    this.name = name;
    this.file = null; // what was dropped; a recording has none
    this.original = new Track();
    this.decoded = new Track();
    this.tokens = new TokenTrack(model.code_sizes.length);
    this.version = 0; // grows when decoded audio is replaced
  }

  get samplesPerFrame() {
    return Math.round((this.model.hop_samples * this.rateHz) / this.model.sample_rate_hz);
  }

  get seconds() {
    return this.original.length / this.rateHz;
  }
}

// How many codes a frame at this level carries.
export function codesAt(model, levels) {
  return model.codes_per_level.slice(0, levels).reduce((sum, codes) => sum + codes, 0);
}

export function bitsAt(model, levels) {
  const sizes = model.code_sizes.slice(0, codesAt(model, levels));
  return sizes.reduce((sum, size) => sum + Math.ceil(Math.log2(size)), 0);
}

// The same frames are lost each time, and more loss adds to them.
export function isLostAt(frame, lossShare) {
  let hash = (frame + 1) * 0x9e3779b1;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32 < lossShare;
}

// The digest that `session.closed` has: each frame as the codes its levels carry.
export async function tokensSha256(model, tokens) {
  const parts = [];
  for (let frame = 0; frame < tokens.frames; frame++) {
    parts.push(...tokens.frame(frame).subarray(0, codesAt(model, tokens.levels[frame])));
  }
  const digest = await crypto.subtle.digest("SHA-256", Uint16Array.from(parts));
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function enlarged(array) {
  const grown = new array.constructor(2 * array.length);
  grown.set(array);
  return grown;
}
