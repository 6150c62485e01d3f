// A recording in progress: microphone, sessions, and going on after they were lost.

import { Microphone } from "./microphone.js";
import { Take } from "./take.js";

const REOPEN_MS = 1000;
const MAX_SECONDS = 600;

// events: onStatus(text), onEnd(error or null, tokensAgree), onOpen(session.created),
// onDelay(ms), onRoundTrip(ms), onWaiting(seconds), onIn(samples), onOut(samples).
export class Recording {
  constructor(model, wish, place, events) {
    this.model = model;
    this.wish = wish;
    this.place = place;
    this.events = events;
    this.path = null;
    this.isStopped = false;
    this.isReopening = false;
    this.cuts = 0;
  }

  async start() {
    this.microphone = await Microphone.start(
      this.model,
      (chunk) => this.onChunk(chunk),
      this.events.onWaiting,
      this.place.context,
    );
    this.take = new Take(this.model, this.microphone.rateHz, "microphone");
    try {
      await this.openPath();
    } catch (failure) {
      this.isStopped = true;
      this.microphone.stop();
      throw failure;
    }
    this.events.onStatus("Recording. Speak, and move the sliders.");
  }

  async openPath() {
    const path = this.place.livePath(this.take, this.wish, this.handlers());
    this.opening = path;
    this.events.onOpen(await path.open());
    if (this.isStopped) path.abandon();
    else this.path = path;
  }

  handlers() {
    return {
      onLine: (state, attempt) => this.onLine(state, attempt),
      onWarning: (message) => this.events.onStatus(message),
      onRoundTrip: this.events.onRoundTrip,
      onFailure: (failure) => this.onFailure(failure),
      onFrames: () => {},
      onDelay: this.events.onDelay,
      onDecoded: (samples) => this.onDecoded(samples),
    };
  }

  onChunk(chunk) {
    if (!this.path || this.isStopped) return;
    this.path.push(chunk);
    this.events.onIn(chunk);
    if (this.take.seconds >= MAX_SECONDS) this.stop();
  }

  onDecoded(samples) {
    this.events.onOut(samples);
    if (!this.isStopped) this.microphone.play(samples);
  }

  onLine(state, attempt) {
    if (this.isReopening) return;
    if (state === "cut") {
      this.cuts++;
      this.events.onStatus(`The line was cut. Reconnecting, attempt ${attempt} …`);
    } else {
      this.events.onStatus("Reconnected; the session goes on where it stopped, nothing was lost.");
    }
  }

  onFailure(failure) {
    // Failures while opening reach whoever opens; the second session of a pair says nothing new.
    if (!this.path || this.isReopening) return;
    this.path.abandon();
    this.path = null;
    if (this.isStopped || !failure.isGone) this.end(failure);
    else this.reopen();
  }

  // The server no longer knows the sessions: begin new ones in the same recording.
  async reopen() {
    this.isReopening = true;
    while (!this.isStopped) {
      this.events.onStatus("The server has gone away. Trying to begin again …");
      try {
        await this.openPath();
        this.events.onStatus("The server is back. A new session has begun; what was said meanwhile is missing.");
        break;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, REOPEN_MS));
      }
    }
    this.isReopening = false;
  }

  setLevels(levels) {
    if (this.path) this.path.setLevels(levels);
  }

  async stop() {
    if (this.isStopped) return;
    this.isStopped = true;
    this.microphone.stop();
    if (!this.path) {
      if (this.opening) this.opening.abandon();
      this.events.onEnd(null, null);
      return;
    }
    try {
      const agree = await this.path.finish();
      this.events.onEnd(null, agree);
    } catch (failure) {
      this.events.onEnd(failure, null);
    }
  }

  end(failure) {
    if (this.isStopped) return;
    this.isStopped = true;
    this.microphone.stop();
    this.events.onEnd(failure, null);
  }
}
