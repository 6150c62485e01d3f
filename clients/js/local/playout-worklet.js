// Plays samples as they come, a little late, so that an uneven line is not heard.

class Playout extends AudioWorkletProcessor {
  constructor(options) {
    super();
    this.targetSamples = options.processorOptions.targetSamples;
    this.chunks = [];
    this.position = 0; // within the first chunk
    this.waiting = 0;
    this.isPlaying = false;
    this.quanta = 0;
    this.port.onmessage = ({ data: input }) => (input.onmessage = (event) => this.take(event.data));
  }

  take(chunk) {
    this.chunks.push(chunk);
    this.waiting += chunk.length;
    // After an outage much comes at once: what is old is worth less than being on time.
    while (this.waiting > 2.5 * this.targetSamples && this.chunks.length > 1) this.drop();
  }

  drop() {
    this.waiting -= this.chunks.shift().length - this.position;
    this.position = 0;
  }

  process(_inputs, outputs) {
    const output = outputs[0][0];
    if (this.waiting >= this.targetSamples) this.isPlaying = true;
    for (let i = 0; this.isPlaying && i < output.length; i++) {
      output[i] = this.chunks[0][this.position++];
      this.waiting--;
      if (this.position === this.chunks[0].length) {
        this.chunks.shift();
        this.position = 0;
      }
      this.isPlaying = this.waiting > 0;
    }
    if (++this.quanta % 32 === 0) this.port.postMessage(this.waiting / sampleRate);
    return true;
  }
}

registerProcessor("grove-playout", Playout);
