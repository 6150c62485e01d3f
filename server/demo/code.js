// The box with code to copy: one tab for each language.

import { LANGUAGES, snippet } from "./snippets.js";

export class CodePanel {
  constructor(find, report) {
    this.box = find("code");
    this.report = report;
    this.tabs = LANGUAGES.map((language) => find(`tab-${language}`));
    this.place = 0;
    this.tabs.forEach((tab, place) => {
      tab.addEventListener("click", () => this.choose(place));
      tab.addEventListener("keydown", (event) => this.onKey(event));
    });
    find("copy").addEventListener("click", () => this.copy());
    this.show(1, false);
  }

  show(levels, needsKey) {
    this.levels = levels;
    this.needsKey = needsKey;
    const language = LANGUAGES[this.place];
    this.tabs.forEach((tab, place) => {
      tab.setAttribute("aria-selected", String(place === this.place));
      tab.tabIndex = place === this.place ? 0 : -1;
    });
    this.box.setAttribute("aria-labelledby", `tab-${language}`);
    this.box.firstElementChild.textContent = snippet(language, levels, needsKey);
  }

  choose(place) {
    this.place = place;
    this.show(this.levels, this.needsKey);
  }

  onKey(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    this.choose((this.place + step + this.tabs.length) % this.tabs.length);
    this.tabs[this.place].focus();
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(this.box.textContent);
      this.report.status("Copied.");
    } catch {
      getSelection().selectAllChildren(this.box);
      this.report.status("The browser did not allow copying; the text is selected.");
    }
  }
}
