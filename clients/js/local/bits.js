// Frames of codes to bits and back, as BITSTREAM.md section 1 lays them down.

import { GroveCodecError } from "./errors.js";
import { codesAt, packedBytes, widthsAt } from "./spec.js";

/** Pack frames of codes [T, K]; only the first `level` levels are kept. */
export function packFrames(spec, codes, level) {
  const books = spec.code_sizes.length;
  const frames = codes.length / books;
  const widths = widthsAt(spec, level);
  const packed = new Uint8Array(packedBytes(spec, frames, level));
  let byte = 0;
  let held = 0; // bits that do not fill a byte yet
  let heldBits = 0;
  for (let frame = 0; frame < frames; frame++) {
    for (let place = 0; place < widths.length; place++) {
      const code = checkedCode(spec, codes[frame * books + place], place, "bad_packet");
      held = (held << widths[place]) | code; // at most 7 + 16 bits
      heldBits += widths[place];
      while (heldBits >= 8) {
        heldBits -= 8;
        packed[byte++] = held >> heldBits;
        held &= (1 << heldBits) - 1;
      }
    }
  }
  if (heldBits > 0) packed[byte] = held << (8 - heldBits);
  return packed;
}

/** Return the codes [T, K] of packed frames as a Uint16Array; codes above `level` are 0. */
export function unpackFrames(spec, packed, frames, level, errorCode = "bad_packet") {
  const expected = packedBytes(spec, frames, level);
  if (packed.length !== expected) {
    const found = `${frames} frames of level ${level} take ${expected} bytes, got ${packed.length}`;
    throw new GroveCodecError(errorCode, found);
  }
  const books = spec.code_sizes.length;
  const widths = widthsAt(spec, level);
  const codes = new Uint16Array(frames * books);
  let byte = 0;
  let held = 0;
  let heldBits = 0;
  for (let frame = 0; frame < frames; frame++) {
    for (let place = 0; place < widths.length; place++) {
      while (heldBits < widths[place]) {
        held = (held << 8) | packed[byte++];
        heldBits += 8;
      }
      heldBits -= widths[place];
      codes[frame * books + place] = checkedCode(spec, held >> heldBits, place, errorCode);
      held &= (1 << heldBits) - 1;
    }
  }
  // Bits nobody reads must be zero, or two packets could hold the same frame.
  if (held !== 0) throw new GroveCodecError(errorCode, `the last ${heldBits} bits of a packed block must be 0`);
  return codes;
}

/** Return frames of codes [T, K] cut to those that `level` carries, [T, n]. */
export function codesOfLevel(spec, codes, level) {
  const books = spec.code_sizes.length;
  const used = codesAt(spec, level);
  const frames = codes.length / books;
  const cut = new Uint16Array(frames * used);
  for (let frame = 0; frame < frames; frame++) {
    cut.set(codes.subarray(frame * books, frame * books + used), frame * used);
  }
  return cut;
}

function checkedCode(spec, code, place, errorCode) {
  const size = spec.code_sizes[place];
  if (!(code >= 0 && code < size)) {
    throw new GroveCodecError(errorCode, `code ${code} at place ${place} is outside 0..${size - 1}`);
  }
  return code;
}
