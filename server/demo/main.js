// The page: controls in, pictures and sound out.

import { Access } from "./access.js";
import { readAudio } from "./audio_file.js";
import { CodePanel } from "./code.js";
import { Delays, Figures, LevelMeter } from "./figures.js";
import { Recording } from "./live.js";
import { Report, explain } from "./messages.js";
import { PlaceSwitch } from "./place_switch.js";
import { AbPlayer } from "./player.js";
import { Take, TokenTrack, Track, isLostAt } from "./take.js";
import { Views, WINDOW_SECONDS } from "./views.js";

const SLIDER_REST_MS = 200;
const find = (id) => document.getElementById(id);
const prefersStill = window.matchMedia("(prefers-reduced-motion: reduce)");

class DemoPage {
  constructor() {
    this.access = new Access();
    this.report = new Report(find("status"), find("alert"));
    this.views = new Views(find("tokens"), find("before"), find("after"));
    this.figures = new Figures(find);
    this.meters = { in: new LevelMeter(find("level-in")), out: new LevelMeter(find("level-out")) };
    this.delays = new Delays();
    this.player = new AbPlayer(() => this.showPlaying());
    this.wish = { levels: 6, lossShare: 0 };
    this.code = new CodePanel(find, this.report);
    this.places = new PlaceSwitch(find, this.access, this.report, () => this.onPlace());
    this.model = null;
    this.take = null;
    this.recording = null;
    this.work = new AbortController();
    this.drawnAtMs = 0;
    this.codecMs = 0;
  }

  async start() {
    this.bindInput();
    this.bindPlayer();
    await this.loadModel();
    requestAnimationFrame((now) => this.onFrame(now));
  }

  async loadModel() {
    try {
      const models = await this.access.models();
      this.model = models.find((model) => model.default);
    } catch (error) {
      find("access").hidden = error.status !== 401;
      if (error.status === 401 && !this.access.key) this.report.status("Enter your key to begin.");
      else this.report.alert(explain(error));
      return;
    }
    this.report.clear();
    find("access").hidden = true;
    find("model").textContent = `${this.model.name} ${this.model.version}`;
    find("levels").max = String(this.model.levels);
    find("levels").value = String(this.model.levels);
    for (const id of ["microphone", "file", "sample"]) find(id).disabled = false;
    this.places.offer(this.model);
    this.readSliders();
    this.report.status("Ready.");
  }

  // --- controls -----------------------------------------------------------------------------

  bindInput() {
    find("access-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.access.key = find("key").value.trim();
      this.loadModel();
    });
    find("microphone").addEventListener("click", () => this.toggleMicrophone());
    find("listen").addEventListener("change", () => this.setAudible());
    find("sample").addEventListener("click", () => this.openSample());
    find("file").addEventListener("change", (event) => {
      this.openFile(event.target.files[0]);
      // So that choosing the same file again is a change.
      event.target.value = "";
    });
    find("levels").addEventListener("input", () => this.onSlider());
    find("loss").addEventListener("input", () => this.onSlider());
    this.bindDrop();
  }

  bindDrop() {
    const drop = find("drop");
    const isOver = (value) => drop.classList.toggle("over", value);
    // Beside the box too: a file dropped there would replace the page.
    window.addEventListener("dragover", (event) => event.preventDefault());
    window.addEventListener("drop", (event) => {
      event.preventDefault();
      isOver(false);
      if (this.model && event.dataTransfer.files.length) this.openFile(event.dataTransfer.files[0]);
    });
    drop.addEventListener("dragenter", () => isOver(true));
    drop.addEventListener("dragleave", (event) => isOver(drop.contains(event.relatedTarget)));
  }

  bindPlayer() {
    find("play").addEventListener("click", () => this.togglePlaying());
    for (const radio of document.getElementsByName("version")) {
      radio.addEventListener("change", () => this.player.choose(Number(radio.value)));
    }
    find("player").addEventListener("keydown", (event) => {
      if (event.key.toLowerCase() !== "x" || event.ctrlKey || event.metaKey || event.altKey) return;
      const radios = [...document.getElementsByName("version")];
      const other = radios.find((radio) => !radio.checked);
      if (other.disabled) return;
      other.checked = true;
      this.player.choose(Number(other.value));
    });
    find("position").addEventListener("input", (event) => {
      this.player.seek(Number(event.target.value));
      this.isDirty = true;
    });
    find("save-grv").addEventListener("click", () => this.save("grv"));
    find("save-wav").addEventListener("click", () => this.save("wav"));
  }

  // What is open goes through the codec again, now at the other place.
  onPlace() {
    if (this.take) this.take.isEncoded = false;
    if (this.take) this.runFile();
  }

  onSlider() {
    this.readSliders();
    if (this.recording) return this.recording.setLevels(this.wish.levels);
    clearTimeout(this.sliderTimer);
    if (this.take) this.sliderTimer = setTimeout(() => this.runFile(), SLIDER_REST_MS);
  }

  readSliders() {
    this.wish.levels = Number(find("levels").value);
    this.wish.lossShare = Number(find("loss").value) / 100;
    const bps = this.model ? this.model.bitrates_bps[this.wish.levels - 1] : 1000 * this.wish.levels;
    find("levels-value").textContent = `${Number((bps / 1000).toFixed(2))} kbps`;
    find("levels").setAttribute("aria-valuetext", find("levels-value").textContent);
    find("loss-value").textContent = `${find("loss").value} %`;
    find("loss").setAttribute("aria-valuetext", find("loss-value").textContent);
    this.code.show(this.wish.levels, this.access.key !== "");
  }

  // --- the microphone -----------------------------------------------------------------------

  async toggleMicrophone() {
    if (this.recording) {
      find("microphone").disabled = true;
      this.report.status("Waiting for the last frames …");
      await this.recording.stop();
      return;
    }
    this.begin();
    this.setPlayable(false);
    const recording = new Recording(this.model, this.wish, this.places.current, this.recordingEvents());
    find("microphone").disabled = true;
    this.report.status("Asking for the microphone …");
    try {
      await recording.start();
    } catch (error) {
      this.report.status("Not recording.");
      this.report.alert(explain(error));
      find("microphone").disabled = false;
      if (this.take) this.setPlayable(true);
      return;
    }
    this.recording = recording;
    this.show(recording.take);
    this.setAudible();
    this.showRecording(true);
  }

  recordingEvents() {
    return {
      onStatus: (text) => this.report.status(text),
      onEnd: (error, agree) => this.endRecording(error, agree),
      onOpen: (created) => {
        this.codecMs = created.delay.algorithmic_ms + 2 * created.delay.resampler_ms;
      },
      onDelay: (ms) => this.delays.add(ms),
      onRoundTrip: (ms) => (this.delays.roundTripMs = ms),
      onWaiting: (seconds) => (this.delays.playoutSeconds = seconds),
      onIn: (samples) => this.meters.in.hear(samples),
      onOut: (samples) => this.meters.out.hear(samples),
    };
  }

  endRecording(error, agree) {
    this.recording = null;
    this.showRecording(false);
    if (error) this.report.alert(explain(error));
    const proof = agree ? " The server's tokens and those here are the same (SHA-256)." : "";
    if (agree === false) this.report.alert("The tokens here differ from the server's.");
    this.report.status(`Recorded ${this.take.seconds.toFixed(1)} s.${proof}`);
    this.isDirty = true;
    if (this.take.original.length > 0) this.loadPlayer();
  }

  showRecording(isOn) {
    const button = find("microphone");
    button.disabled = false;
    button.textContent = isOn ? "Stop the microphone" : "Start the microphone";
    button.setAttribute("aria-pressed", String(isOn));
    for (const id of ["file", "sample"]) find(id).disabled = isOn;
    this.places.lock(isOn);
  }

  setAudible() {
    if (this.recording) this.recording.microphone.setAudible(find("listen").checked);
  }

  // --- files --------------------------------------------------------------------------------

  async openSample() {
    const reply = await fetch(new URL("sample.flac", import.meta.url));
    this.openFile(new File([await reply.blob()], "sample.flac"));
  }

  async openFile(file) {
    if (!file || this.recording) return;
    this.begin();
    this.report.status(`Reading ${file.name} …`);
    try {
      const take = new Take(this.model, this.model.sample_rate_hz, file.name);
      take.original.write(0, await readAudio(file, this.model.sample_rate_hz));
      take.file = file;
      this.show(take);
    } catch (error) {
      this.report.status("Nothing was opened.");
      this.report.alert(explain(error));
      return;
    }
    await this.runFile();
  }

  // Once more through the line, as the sliders are now.
  async runFile() {
    this.work.abort();
    const work = new AbortController();
    this.work = work;
    const [take, wish, place] = [this.take, { ...this.wish }, this.places.current];
    try {
      if (!take.isEncoded) {
        // Whoever moves a slider meanwhile starts afresh, from no tokens.
        take.tokens = new TokenTrack(take.tokens.codesPerFrame);
        await place.encodeFile(take, this.fileHandlers("Encoding", work), work.signal);
        if (work.signal.aborted) return;
        take.isEncoded = true;
      }
      const audio = await place.decodeFile(take, wish, this.fileHandlers("Decoding", work), work.signal);
      if (!work.signal.aborted) this.showDecoded(take, wish, audio);
    } catch (error) {
      if (work.signal.aborted) return;
      this.report.status("Not finished.");
      this.report.alert(explain(error));
    }
  }

  fileHandlers(what, work) {
    const tell = (text) => work.signal.aborted || this.report.status(text);
    return {
      onProgress: (share) => {
        this.isDirty = true;
        // Tens, so that a screen reader is not flooded.
        tell(`${what}: ${Math.min(100, 10 * Math.floor(10 * share))} %`);
      },
      onLine: (state) => tell(state === "cut" ? "The line was cut. Reconnecting …" : "Reconnected."),
      onWarning: tell,
      onRoundTrip: () => {},
      onFailure: () => {},
    };
  }

  showDecoded(take, wish, audio) {
    take.decoded = new Track();
    take.decoded.write(0, audio);
    take.version++;
    for (let frame = 0; frame < take.tokens.frames; frame++) {
      take.tokens.levels[frame] = wish.levels;
      take.tokens.lost[frame] = isLostAt(frame, wish.lossShare) ? 1 : 0;
    }
    this.report.clear();
    this.report.status(`Ready: ${take.name} at ${find("levels-value").textContent}. Press Play, and switch between A and B.`);
    this.loadPlayer();
    this.isDirty = true;
  }

  // --- playing and saving -------------------------------------------------------------------

  begin() {
    this.work.abort();
    clearTimeout(this.sliderTimer);
    this.report.clear();
    this.player.pause();
    this.showPlaying();
    this.delays.clear();
  }

  show(take) {
    this.take = take;
    take.isEncoded = false;
    this.views.show(take);
    this.figures.clear();
    this.player.offset = 0;
    this.setPlayable(false);
    this.isDirty = true;
  }

  loadPlayer() {
    const { original, decoded, rateHz } = this.take;
    this.player.load(original.values(), decoded.values(), rateHz);
    find("position").max = String(this.player.seconds);
    this.setPlayable(true);
    this.showPlaying();
  }

  setPlayable(isPlayable) {
    for (const id of ["play", "position", "save-grv", "save-wav"]) find(id).disabled = !isPlayable;
    for (const radio of document.getElementsByName("version")) radio.disabled = !isPlayable;
  }

  async togglePlaying() {
    if (this.player.isPlaying) this.player.pause();
    else await this.player.play();
    this.showPlaying();
  }

  showPlaying() {
    find("play").textContent = this.player.isPlaying ? "Pause" : "Play";
    this.isDirty = true;
  }

  async save(format) {
    const take = this.take;
    const button = find(`save-${format}`);
    button.disabled = true;
    this.report.status(`Making the .${format} file …`);
    try {
      const blob = await this.places.current.convert(take, this.wish.levels, format);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = `${take.name.replace(/\.\w+$/, "")}-grove.${format}`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      this.report.status(`${link.download} has ${(blob.size / 1000).toFixed(1)} kB.`);
    } catch (error) {
      this.report.alert(explain(error));
    }
    button.disabled = false;
  }

  // --- drawing ------------------------------------------------------------------------------

  onFrame(now) {
    requestAnimationFrame((next) => this.onFrame(next));
    const pauseMs = prefersStill.matches ? 500 : 50;
    if (now - this.drawnAtMs < pauseMs) return;
    this.drawnAtMs = now;
    if (this.player.isPlaying) this.hearPlaying();
    for (const meter of Object.values(this.meters)) meter.draw();
    if (!this.take || !(this.recording || this.player.isPlaying || this.isDirty)) return;
    this.isDirty = false;
    this.draw();
  }

  draw() {
    const take = this.take;
    const position = this.player.position;
    const isLive = this.recording !== null;
    const start = isLive
      ? Math.max(0, take.seconds - WINDOW_SECONDS)
      : WINDOW_SECONDS * Math.floor(Math.max(0, position - 0.001) / WINDOW_SECONDS);
    this.views.draw(start, isLive ? null : position);
    find("span").textContent = `${start.toFixed(1)} to ${(start + WINDOW_SECONDS).toFixed(1)} s`;
    const second = Math.round(take.model.frame_rate_hz);
    this.figures.tokens(take, isLive ? Math.max(0, take.tokens.frames - second) : 0);
    if (isLive) {
      this.figures.delays(this.delays, this.codecMs, this.recording.microphone.deviceSeconds);
    }
    find("position").value = String(position);
    find("position").setAttribute("aria-valuetext", `${position.toFixed(1)} of ${take.seconds.toFixed(1)} seconds`);
  }

  hearPlaying() {
    const { original, decoded, rateHz } = this.take;
    const start = Math.floor(this.player.position * rateHz);
    const piece = (track) => track.values().subarray(start, start + rateHz / 20);
    this.meters.in.hear(piece(original));
    this.meters.out.hear(piece(decoded));
  }
}

const page = new DemoPage();
window.addEventListener("resize", () => (page.isDirty = true));
// For the console.
window.grove = page;
page.start();
