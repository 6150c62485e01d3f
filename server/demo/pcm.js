// Samples as 16-bit numbers, and back, and in a WAV file.

export function toInt16(samples) {
  const values = new Int16Array(samples.length);
  for (let i = 0; i < samples.length; i++) {
    values[i] = Math.max(-32768, Math.min(32767, Math.round(samples[i] * 32768)));
  }
  return values;
}

export function toFloat(buffer) {
  const values = new Int16Array(buffer);
  const samples = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) samples[i] = values[i] / 32768;
  return samples;
}

export function wavBlob(samples, rateHz) {
  const data = toInt16(samples);
  const header = new DataView(new ArrayBuffer(44));
  const write = (offset, text) => {
    for (let i = 0; i < text.length; i++) header.setUint8(offset + i, text.charCodeAt(i));
  };
  write(0, "RIFF");
  header.setUint32(4, 36 + data.byteLength, true);
  write(8, "WAVEfmt ");
  header.setUint32(16, 16, true);
  header.setUint16(20, 1, true);
  header.setUint16(22, 1, true);
  header.setUint32(24, rateHz, true);
  header.setUint32(28, 2 * rateHz, true);
  header.setUint16(32, 2, true);
  header.setUint16(34, 16, true);
  write(36, "data");
  header.setUint32(40, data.byteLength, true);
  return new Blob([header, data], { type: "audio/wav" });
}
