// Spectrogram columns of a track, made when they are first looked at.

const WINDOW_SAMPLES = 512;
export const ROWS = 128;
export const COLUMNS_PER_SECOND = 100;
const FLOOR_DB = -85;
const CEILING_DB = -15;

const hann = Float32Array.from(
  { length: WINDOW_SAMPLES },
  (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / WINDOW_SAMPLES),
);

export class Spectrogram {
  constructor(track, rateHz, topHz) {
    this.track = track;
    this.rateHz = rateHz;
    this.topHz = topHz;
    this.columns = [];
  }

  // Return ROWS values from 0 to 255, lowest frequency first, or null where there is no audio yet.
  column(index) {
    const kept = this.columns[index];
    if (kept) return kept;
    const start = Math.round((index * this.rateHz) / COLUMNS_PER_SECOND);
    if (start + WINDOW_SAMPLES > this.track.length) return null;
    const made = this.measure(this.track.samples.subarray(start, start + WINDOW_SAMPLES));
    this.columns[index] = made;
    return made;
  }

  measure(samples) {
    const power = powerSpectrum(samples);
    const column = new Uint8Array(ROWS);
    const binsPerRow = ((this.topHz / this.rateHz) * WINDOW_SAMPLES) / ROWS;
    for (let row = 0; row < ROWS; row++) {
      const first = Math.floor(row * binsPerRow);
      const last = Math.max(first + 1, Math.floor((row + 1) * binsPerRow));
      let loudest = 0;
      for (let bin = first; bin < last && bin < power.length; bin++) {
        loudest = Math.max(loudest, power[bin]);
      }
      const level_db = 10 * Math.log10(loudest + 1e-12);
      const share = (level_db - FLOOR_DB) / (CEILING_DB - FLOOR_DB);
      column[row] = 255 * Math.max(0, Math.min(1, share));
    }
    return column;
  }
}

// Power of each frequency; a sine of full scale is 1.
function powerSpectrum(samples) {
  const real = new Float32Array(WINDOW_SAMPLES);
  const imaginary = new Float32Array(WINDOW_SAMPLES);
  for (let i = 0; i < WINDOW_SAMPLES; i++) real[reversed[i]] = samples[i] * hann[i];
  transform(real, imaginary);
  const power = new Float32Array(WINDOW_SAMPLES / 2);
  const scale = (4 / WINDOW_SAMPLES) ** 2;
  for (let i = 0; i < power.length; i++) {
    power[i] = scale * (real[i] ** 2 + imaginary[i] ** 2);
  }
  return power;
}

const reversed = Uint16Array.from({ length: WINDOW_SAMPLES }, (_, i) => {
  let turned = 0;
  for (let bit = 1; bit < WINDOW_SAMPLES; bit <<= 1) {
    turned = (turned << 1) | (i & bit ? 1 : 0);
  }
  return turned;
});
const cosines = Float32Array.from({ length: WINDOW_SAMPLES / 2 }, (_, i) =>
  Math.cos((-2 * Math.PI * i) / WINDOW_SAMPLES),
);
const sines = Float32Array.from({ length: WINDOW_SAMPLES / 2 }, (_, i) =>
  Math.sin((-2 * Math.PI * i) / WINDOW_SAMPLES),
);

// The Fourier transform in place, of input in bit-reversed order.
function transform(real, imaginary) {
  for (let half = 1; half < WINDOW_SAMPLES; half *= 2) {
    const stride = WINDOW_SAMPLES / (2 * half);
    for (let start = 0; start < WINDOW_SAMPLES; start += 2 * half) {
      for (let k = 0; k < half; k++) {
        const low = start + k;
        const high = low + half;
        const c = cosines[k * stride];
        const s = sines[k * stride];
        const re = real[high] * c - imaginary[high] * s;
        const im = real[high] * s + imaginary[high] * c;
        real[high] = real[low] - re;
        imaginary[high] = imaginary[low] - im;
        real[low] += re;
        imaginary[low] += im;
      }
    }
  }
}
