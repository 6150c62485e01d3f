// Two versions of the same audio playing at once; the switch only moves their volumes.

const SWITCH_SECONDS = 0.008;

export class AbPlayer {
  constructor(onEnd) {
    this.onEnd = onEnd;
    this.context = null;
    this.buffers = [];
    this.sources = [];
    this.chosen = 1;
    this.offset = 0;
    this.isPlaying = false;
  }

  get seconds() {
    return this.buffers.length ? this.buffers[0].duration : 0;
  }

  get position() {
    if (!this.isPlaying) return this.offset;
    const elapsed = this.offset + this.context.currentTime - this.startedAt;
    return Math.min(Math.max(elapsed, 0), this.seconds);
  }

  // New audio keeps the place, playing or not.
  load(original, decoded, rateHz) {
    this.context = this.context || new AudioContext();
    const position = this.position;
    const wasPlaying = this.isPlaying;
    this.stopSources();
    this.buffers = [original, decoded].map((samples) => {
      const buffer = this.context.createBuffer(1, Math.max(1, original.length), rateHz);
      buffer.copyToChannel(samples.subarray(0, original.length), 0);
      return buffer;
    });
    this.offset = Math.min(position, this.seconds);
    if (wasPlaying) this.play();
  }

  async play() {
    if (!this.buffers.length) return;
    if (this.offset >= this.seconds - 0.01) this.offset = 0;
    this.gains = this.buffers.map((_, i) => {
      const gain = this.context.createGain();
      gain.gain.value = i === this.chosen ? 1 : 0;
      gain.connect(this.context.destination);
      return gain;
    });
    this.isPlaying = true;
    this.startedAt = this.context.currentTime;
    this.sources = this.buffers.map((buffer, i) => {
      const source = this.context.createBufferSource();
      source.buffer = buffer;
      source.connect(this.gains[i]);
      source.start(this.startedAt, this.offset);
      return source;
    });
    this.sources[0].onended = () => this.finish();
    await this.context.resume();
  }

  pause() {
    this.offset = this.position;
    this.stopSources();
  }

  seek(second) {
    const wasPlaying = this.isPlaying;
    this.stopSources();
    this.offset = Math.min(Math.max(second, 0), this.seconds);
    if (wasPlaying) this.play();
  }

  // 0 is the original, 1 what came through the codec.
  choose(version) {
    this.chosen = version;
    if (!this.isPlaying) return;
    this.gains.forEach((gain, i) => {
      gain.gain.setTargetAtTime(i === version ? 1 : 0, this.context.currentTime, SWITCH_SECONDS);
    });
  }

  finish() {
    this.stopSources();
    this.offset = 0;
    this.onEnd();
  }

  stopSources() {
    this.isPlaying = false;
    for (const source of this.sources) {
      source.onended = null;
      source.stop();
      source.disconnect();
    }
    this.sources = [];
  }
}
