// The page: a microphone to packets, packets to a loudspeaker, and a line between two of these.

import { GroveCodec } from "/codec/local/index.js";
import { captureInto, playFrom } from "/codec/local/sound.js";
import { Line, nowMs } from "./line.js";

const MOST_MISSING_FRAMES = 50;
const MOST_DECODING = 10;
const find = (id) => document.getElementById(id);

class Call {
  constructor() {
    this.lossShare = 0;
    this.waitingSeconds = 0;
    this.next = null; // the index that the other's next packet should have
    this.position = 0; // where the decoder stands
    this.decoding = 0; // packets that wait for their samples
    this.delaysMs = [];
    this.counted = { sent: 0, received: 0 };
  }

  async start(room) {
    tell("Loading the codec …");
    this.codec ??= await GroveCodec.load(new URL("/bundle/", location.href).href, { worker: true });
    this.hopMs = (1000 * this.codec.spec.hop_samples) / this.codec.spec.sample_rate_hz;
    tell("Asking for the microphone …");
    this.stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
    this.context = new AudioContext({ latencyHint: "interactive" });
    await this.context.resume();
    await this.listenTo(this.context.createMediaStreamSource(this.stream));
    await this.openLoudspeaker();
    this.line = new Line(room, {
      onPacket: (packet) => this.onPacket(packet),
      onPeer: (isThere) => this.onPeer(isThere),
      onClose: (reason) => this.end(reason),
    });
    this.meter = setInterval(() => this.showRates(), 1000);
    tell("Waiting for the other one …");
  }

  async listenTo(source) {
    this.source = source;
    this.encoder = this.codec.encoder({ sampleRate: this.context.sampleRate, levels: Number(find("levels").value) });
    this.capture = await captureInto(this.encoder, source, {
      onPackets: (packets) => packets.forEach((packet) => this.send(packet)),
      onError: (error) => this.end(error.message),
    });
  }

  async openLoudspeaker() {
    this.decoder = this.codec.decoder({ sampleRate: this.context.sampleRate });
    this.playout = await playFrom(this.decoder, this.context, {
      onWaiting: (seconds) => (this.waitingSeconds = seconds),
    });
    this.playout.connect(this.context.destination);
  }

  send(packet) {
    if (Math.random() < this.lossShare) return;
    const ageMs = 1000 * (this.context.currentTime - packet.time) + this.hopMs;
    this.line?.send(packet, nowMs() - ageMs);
  }

  async onPacket({ index, level, bytes, capturedAtMs }) {
    // The other may have begun long ago, or been away: the decoder goes on where it stands.
    const isElsewhere = this.next === null || Math.abs(index - this.next) > MOST_MISSING_FRAMES;
    if (isElsewhere) this.next = index;
    const place = this.position + index - this.next;
    if (place < this.position) return; // too late
    this.next = index + 1;
    if (this.decoding >= MOST_DECODING) return; // this device is behind, and concealing takes as long
    this.position = place + 1;
    this.decoding += 1;
    try {
      const samples = await this.decoder.push({ index: place, level, bytes });
      this.decoding -= 1;
      if (samples > 0) this.measure(capturedAtMs);
    } catch (error) {
      this.end(error.message);
    }
  }

  measure(capturedAtMs) {
    const parts = {
      line: nowMs() - capturedAtMs,
      overlap: this.codec.delayMs - this.hopMs,
      playout: 1000 * this.waitingSeconds,
      device: 1000 * ((this.context.baseLatency || 0) + (this.context.outputLatency || 0)),
    };
    this.delaysMs.push(Object.values(parts).reduce((sum, ms) => sum + ms, 0));
    if (this.delaysMs.length > 50) this.delaysMs.shift();
    this.parts = parts;
  }

  onPeer(isThere) {
    if (!isThere) this.next = null;
    tell(isThere ? "You hear each other." : "The other one has left.");
  }

  showRates() {
    const kbps = (bytes, before) => `${((8 * (bytes - before)) / 1000).toFixed(1)} kbps`;
    find("sent").textContent = kbps(this.line.sentBytes, this.counted.sent);
    find("received").textContent = kbps(this.line.receivedBytes, this.counted.received);
    this.counted = { sent: this.line.sentBytes, received: this.line.receivedBytes };
    if (!this.parts) return;
    const sorted = [...this.delaysMs].sort((a, b) => a - b);
    find("delay").textContent = `${Math.round(sorted[sorted.length >> 1])} ms`;
    const { line, overlap, playout, device } = this.parts;
    find("delay-parts").textContent =
      `Of these, at last: ${Math.round(line)} ms from the microphone through codec and line, ${Math.round(overlap)} overlap, ` +
      `${Math.round(playout)} waiting to be played, ${Math.round(device)} loudspeaker.`;
  }

  mute(isMuted) {
    for (const track of this.stream.getTracks()) track.enabled = !isMuted;
  }

  end(reason) {
    if (this.isOver) return;
    this.isOver = true;
    clearInterval(this.meter);
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.encoder?.close();
    this.decoder?.close();
    this.context?.close();
    this.line?.close(reason);
    this.codec?.close();
    tell(`The call is over: ${reason}.`, true);
    showTalking(false);
  }
}

let call = null;

function tell(text, isBad = false) {
  find("status").textContent = text;
  find("status").classList.toggle("bad", isBad);
}

function showTalking(isOn) {
  find("call").textContent = isOn ? "Hang up" : "Call";
  find("room").disabled = isOn;
  find("mute").disabled = !isOn;
  find("mute").setAttribute("aria-pressed", "false");
}

find("join").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (call && !call.isOver) {
    call.end("you hung up");
    return;
  }
  call = new Call();
  window.call = call; // for the console
  showTalking(true);
  showSliders();
  await call.start(find("room").value).catch((error) => call.end(error.message));
});

find("mute").addEventListener("click", () => {
  const isMuted = find("mute").getAttribute("aria-pressed") === "false";
  find("mute").setAttribute("aria-pressed", String(isMuted));
  call.mute(isMuted);
});

function showSliders() {
  find("levels-value").textContent = `${find("levels").value} kbps`;
  find("loss-value").textContent = `${find("loss").value} %`;
  if (!call) return;
  call.lossShare = Number(find("loss").value) / 100;
  call.encoder?.setLevels(Number(find("levels").value));
}

find("levels").addEventListener("input", showSliders);
find("loss").addEventListener("input", showSliders);
const asked = new URLSearchParams(location.search).get("room");
if (asked) find("room").value = asked;
