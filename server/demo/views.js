// The pictures: tokens as a heat map, audio as spectrograms, all over the same seconds.

import { COLUMNS_PER_SECOND, ROWS, Spectrogram } from "./spectrum.js";
import { codesAt } from "./take.js";

export const WINDOW_SECONDS = 6;
const SOUND = colours(["#0b1210", "#163b39", "#1f6f5c", "#6fae4e", "#e3c94f", "#fff6d8"]);
const CODES = colours(["#1d2a6b", "#2f6fb3", "#35a79c", "#8fc75a", "#f0d264", "#f4874b"]);
const EMPTY = packed([11, 18, 16]);
const LOST = packed([214, 64, 69]);
const TOP_HZ = 12000;

export class Views {
  constructor(tokenCanvas, beforeCanvas, afterCanvas) {
    this.tokenCanvas = tokenCanvas;
    this.beforeCanvas = beforeCanvas;
    this.afterCanvas = afterCanvas;
    this.take = null;
  }

  show(take) {
    this.take = take;
    this.before = new Spectrogram(take.original, take.rateHz, TOP_HZ);
    this.version = -1;
  }

  // Draw the seconds from `startSecond` on, with a line at `playhead` where it is a number.
  draw(startSecond, playhead) {
    const take = this.take;
    if (this.version !== take.version) {
      this.after = new Spectrogram(take.decoded, take.rateHz, TOP_HZ);
      this.version = take.version;
    }
    const share = playhead === null ? null : (playhead - startSecond) / WINDOW_SECONDS;
    this.drawTokens(startSecond, share);
    this.drawSound(this.beforeCanvas, this.before, startSecond, share);
    this.drawSound(this.afterCanvas, this.after, startSecond, share);
  }

  drawTokens(startSecond, share) {
    const { model, tokens } = this.take;
    const framesPerSecond = model.frame_rate_hz;
    const columns = Math.round(WINDOW_SECONDS * framesPerSecond);
    const first = Math.round(startSecond * framesPerSecond);
    const rows = tokens.codesPerFrame;
    const image = new ImageData(columns, rows);
    const pixels = new Uint32Array(image.data.buffer).fill(EMPTY);
    for (let column = 0; column < columns && first + column < tokens.frames; column++) {
      const frame = first + column;
      const codes = tokens.frame(frame);
      const used = codesAt(model, tokens.levels[frame]);
      for (let row = 0; row < rows; row++) {
        const place = row * columns + column;
        // A lost frame is a gap with a mark above it, so that colour alone does not tell.
        if (tokens.lost[frame]) pixels[place] = row === 0 ? LOST : EMPTY;
        else if (row < used) pixels[place] = CODES[(codes[row] * 256) / model.code_sizes[row] | 0];
      }
    }
    paint(this.tokenCanvas, image, false);
    this.drawLevelLines(model, rows);
    drawPlayhead(this.tokenCanvas, share);
  }

  drawLevelLines(model, rows) {
    const context = this.tokenCanvas.getContext("2d");
    context.fillStyle = "rgb(11 18 16)";
    for (let level = 1; level < model.levels; level++) {
      const y = Math.round((codesAt(model, level) / rows) * this.tokenCanvas.height);
      context.fillRect(0, y - 1, this.tokenCanvas.width, 2);
    }
  }

  drawSound(canvas, spectrogram, startSecond, share) {
    const columns = WINDOW_SECONDS * COLUMNS_PER_SECOND;
    const first = Math.round(startSecond * COLUMNS_PER_SECOND);
    const image = new ImageData(columns, ROWS);
    const pixels = new Uint32Array(image.data.buffer).fill(EMPTY);
    for (let column = 0; column < columns; column++) {
      const values = spectrogram.column(first + column);
      if (values === null) break;
      for (let row = 0; row < ROWS; row++) {
        pixels[(ROWS - 1 - row) * columns + column] = SOUND[values[row]];
      }
    }
    paint(canvas, image, true);
    drawPlayhead(canvas, share);
  }
}

const scratch = document.createElement("canvas");

function paint(canvas, image, isSmooth) {
  const scale = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * scale);
  const height = Math.round(canvas.clientHeight * scale);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  scratch.width = image.width;
  scratch.height = image.height;
  scratch.getContext("2d").putImageData(image, 0, 0);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = isSmooth;
  context.drawImage(scratch, 0, 0, width, height);
}

function drawPlayhead(canvas, share) {
  if (share === null || share < 0 || share > 1) return;
  const context = canvas.getContext("2d");
  const x = Math.round(share * (canvas.width - 2));
  context.fillStyle = "#ffffff";
  context.fillRect(x, 0, 2, canvas.height);
}

// 256 colours between those given, as pixels.
function colours(stops) {
  const points = stops.map((stop) => [1, 3, 5].map((i) => parseInt(stop.slice(i, i + 2), 16)));
  return Uint32Array.from({ length: 256 }, (_, i) => {
    const place = (i / 255) * (points.length - 1);
    const low = Math.min(Math.floor(place), points.length - 2);
    const mixed = points[low].map((value, c) =>
      Math.round(value + (points[low + 1][c] - value) * (place - low)),
    );
    return packed(mixed);
  });
}

function packed([red, green, blue]) {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}
