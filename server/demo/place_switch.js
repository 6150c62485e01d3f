// The switch between the codec on the server and the one in this browser.

import { explain } from "./messages.js";
import { BrowserPlace, ServerPlace } from "./places.js";

const WORDS = {
  server: {
    lead: "The audio goes to this server, becomes tokens, crosses a line that you may damage, and comes back as audio.",
    note: "Audio goes to the server and comes back.",
    save: "Made by the REST routes at the chosen bitrate, without packet loss.",
  },
  browser: {
    lead: "The audio becomes tokens in this browser, crosses a line that you may damage, and becomes audio again. It does not leave this page.",
    note: "Only tokens would cross the line; the server may be stopped.",
    save: "Made in this browser at the chosen bitrate, without packet loss.",
  },
};

export class PlaceSwitch {
  constructor(find, access, report, onChange) {
    this.find = find;
    this.access = access;
    this.report = report;
    this.onChange = onChange;
    this.server = new ServerPlace(access);
    this.browser = null;
    this.current = this.server;
    this.radios = [...document.getElementsByName("place")];
    for (const radio of this.radios) radio.addEventListener("change", () => this.choose(radio.value));
  }

  // The switch works where the server has the files for it; else it says why not.
  async offer(model) {
    this.model = model;
    this.isOffered = await BrowserPlace.isAvailable();
    this.lock(false);
    if (!this.isOffered) {
      this.find("place-note").textContent =
        "The codec for browsers is not set up on this server (make web), so audio goes to the server.";
    }
  }

  lock(isLocked) {
    for (const radio of this.radios) {
      radio.disabled = isLocked || (radio.value === "browser" && !this.isOffered);
    }
  }

  async choose(name) {
    if (name === "browser" && !this.browser && !(await this.load())) {
      this.radios.find((radio) => radio.value === "server").checked = true;
      this.lock(false);
      return;
    }
    this.current = name === "browser" ? this.browser : this.server;
    this.find("lead").textContent = `Speak or choose a file. ${WORDS[name].lead}`;
    this.find("place-note").textContent = WORDS[name].note;
    this.find("save-note").textContent = WORDS[name].save;
    this.onChange();
  }

  async load() {
    this.lock(true);
    this.report.clear();
    this.report.status("Loading the codec into this browser …");
    try {
      const startedAtMs = performance.now();
      const tell = (bytes) => this.report.status(`Loading the codec: ${(bytes / 1e6).toFixed(1)} MB …`);
      this.browser = await BrowserPlace.load(this.model, this.access.key, tell);
      const seconds = (performance.now() - startedAtMs) / 1000;
      this.report.status(`Ready. The codec works in this browser, after ${seconds.toFixed(1)} s of loading.`);
    } catch (error) {
      this.report.status("Ready. The codec stays on the server.");
      this.report.alert(explain(error));
      return false;
    }
    this.lock(false);
    return true;
  }
}
