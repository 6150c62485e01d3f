// Binary packets of the protocol: a head of two to four bytes, then samples or packed codes.

export const KIND_AUDIO = 1;
export const KIND_TOKENS = 2;
const TOKENS_BIT = 0x80;

// `payload` is a view of samples, or a Uint16Array of codes.
export function packPacket(kind, sequence, levels, count, payload, model) {
  if (kind === KIND_AUDIO) {
    const samples = new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength);
    return joined([0, sequence & 0xff], samples);
  }
  const counted = count < 0x80 ? [count] : [0x80 | (count & 0x7f), count >> 7];
  const packed = packBits(payload, widthsOf(model, levels));
  return joined([TOKENS_BIT | levels, sequence & 0xff, ...counted], packed);
}

// The payload of a packet as a buffer: 16-bit samples, or 16-bit codes.
export function unpackPacket(buffer, model) {
  const bytes = new Uint8Array(buffer);
  if (!(bytes[0] & TOKENS_BIT)) {
    const payload = buffer.slice(2);
    return { low: bytes[1], levels: 0, count: payload.byteLength / 2, payload };
  }
  const levels = bytes[0] & 0x7f;
  const start = bytes[2] < 0x80 ? 3 : 4;
  const count = start === 3 ? bytes[2] : (bytes[2] & 0x7f) | (bytes[3] << 7);
  const codes = unpackBits(bytes.subarray(start), widthsOf(model, levels), count);
  return { low: bytes[1], levels, count, payload: codes.buffer };
}

// The number nearest to the expected one that ends in these 8 bits.
export function fullSequence(low, expected) {
  return expected + ((low - expected + 0x80) & 0xff) - 0x80;
}

function joined(head, payload) {
  const message = new Uint8Array(head.length + payload.length);
  message.set(head);
  message.set(payload, head.length);
  return message;
}

function widthsOf(model, levels) {
  const used = model.codes_per_level.slice(0, levels).reduce((sum, codes) => sum + codes, 0);
  return model.code_sizes.slice(0, used).map((size) => 32 - Math.clz32(size - 1));
}

function packBits(codes, widths) {
  let bits = 0;
  for (let n = 0; n < codes.length; n++) bits += widths[n % widths.length];
  const bytes = new Uint8Array(Math.ceil(bits / 8));
  let position = 0;
  for (let n = 0; n < codes.length; n++) {
    for (let bit = widths[n % widths.length] - 1; bit >= 0; bit--, position++) {
      bytes[position >> 3] |= ((codes[n] >> bit) & 1) << (7 - (position & 7));
    }
  }
  return bytes;
}

function unpackBits(bytes, widths, frames) {
  const codes = new Uint16Array(frames * widths.length);
  let position = 0;
  for (let n = 0; n < codes.length; n++) {
    for (let bit = widths[n % widths.length]; bit > 0; bit--, position++) {
      codes[n] = (codes[n] << 1) | ((bytes[position >> 3] >> (7 - (position & 7))) & 1);
    }
  }
  return codes;
}
