// Numbers beside the pictures: level meters, bitrate, loss and delays.

import { bitsAt } from "./take.js";

const FLOOR_DB = -60;
const FALL_DB = 3;
const DELAYS_KEPT = 50;
const SAMPLE_BITS = 16;

export class LevelMeter {
  constructor(element) {
    this.element = element;
    this.fill = element.querySelector(".fill");
    this.text = element.querySelector(".value");
    this.shownDb = FLOOR_DB;
    this.heardDb = FLOOR_DB;
  }

  hear(samples) {
    let power = 0;
    for (const sample of samples) power += sample * sample;
    const db = 10 * Math.log10(power / Math.max(1, samples.length) + 1e-12);
    this.heardDb = Math.max(this.heardDb, Math.min(0, Math.max(FLOOR_DB, db)));
  }

  draw() {
    this.shownDb = Math.max(this.heardDb, this.shownDb - FALL_DB);
    this.heardDb = FLOOR_DB;
    const isSilent = this.shownDb <= FLOOR_DB;
    const shown = Math.round(Math.max(FLOOR_DB, this.shownDb));
    this.fill.style.clipPath = `inset(0 ${(100 * shown) / FLOOR_DB}% 0 0)`;
    this.text.textContent = isSilent ? "–∞ dB" : `${shown} dB`.replace("-", "–");
    this.element.setAttribute("aria-valuenow", String(shown));
  }
}

export class Delays {
  constructor() {
    this.clear();
  }

  clear() {
    this.framesMs = [];
    this.roundTripMs = null;
    this.playoutSeconds = 0;
  }

  add(ms) {
    this.framesMs.push(ms);
    if (this.framesMs.length > DELAYS_KEPT) this.framesMs.shift();
  }

  get medianMs() {
    const sorted = [...this.framesMs].sort((a, b) => a - b);
    return sorted.length ? sorted[sorted.length >> 1] : null;
  }
}

export class Figures {
  constructor(find) {
    this.places = Object.fromEntries(
      ["bitrate", "ratio", "lost", "trip", "delay", "length", "delay-parts"].map((id) => [id, find(id)]),
    );
    this.tokensText = find("tokens-text");
  }

  // Count the frames from `first` on.
  tokens(take, first) {
    const { model, tokens } = take;
    const frames = tokens.frames - first;
    if (frames <= 0) return;
    let bits = 0;
    let lost = 0;
    for (let frame = first; frame < tokens.frames; frame++) {
      bits += bitsAt(model, tokens.levels[frame]);
      lost += tokens.lost[frame];
    }
    const kbps = (bits * model.frame_rate_hz) / frames / 1000;
    const audioKbps = (model.sample_rate_hz * SAMPLE_BITS) / 1000;
    this.set("bitrate", `${kbps.toFixed(1)} kbps`);
    this.set("ratio", kbps > 0 ? `${Math.round(audioKbps / kbps)} times` : "–");
    this.set("lost", `${Math.round((100 * lost) / frames)} %`);
    this.set("length", `${take.seconds.toFixed(1)} s`);
    this.tokensText.textContent =
      `${tokens.frames} frames of tokens. In the last ${frames}: ` +
      `${kbps.toFixed(1)} kilobits a second, ${lost} lost.`;
  }

  delays(delays, codecMs, deviceSeconds) {
    const tripMs = delays.medianMs;
    if (tripMs === null) return;
    const playoutMs = 1000 * delays.playoutSeconds;
    const deviceMs = 1000 * deviceSeconds;
    this.set("trip", `${Math.round(tripMs)} ms`);
    this.set("delay", `${Math.round(codecMs + tripMs + playoutMs + deviceMs)} ms`);
    const line = delays.roundTripMs === null ? "" : ` (a ping alone: ${Math.round(delays.roundTripMs)})`;
    this.set(
      "delay-parts",
      `${Math.round(codecMs)} ms frame and overlap, ${Math.round(tripMs)} there and back${line}, ` +
        `${Math.round(playoutMs)} play-out buffer, ${Math.round(deviceMs)} sound device.`,
    );
  }

  clear() {
    for (const [id, place] of Object.entries(this.places)) if (id !== "delay-parts") place.textContent = "–";
    this.tokensText.textContent = "No tokens yet.";
  }

  set(id, text) {
    this.places[id].textContent = text;
  }
}
