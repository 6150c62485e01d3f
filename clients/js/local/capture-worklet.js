// Cuts what it hears into chunks, mixed down, and posts them with the time of their last sample.

class Capture extends AudioWorkletProcessor {
  constructor(options) {
    super();
    this.chunkSamples = options.processorOptions.chunkSamples;
    this.chunk = new Float32Array(this.chunkSamples);
    this.filled = 0;
    this.output = null;
    this.port.onmessage = (event) => (this.output = event.data);
  }

  process(inputs) {
    const channels = inputs[0];
    if (channels.length === 0 || !this.output) return true;
    for (let i = 0; i < channels[0].length; i++) {
      let sum = 0;
      for (const channel of channels) sum += channel[i];
      this.chunk[this.filled++] = sum / channels.length;
      if (this.filled === this.chunkSamples) this.post((currentFrame + i + 1) / sampleRate);
    }
    return true;
  }

  post(time) {
    this.output.postMessage({ samples: this.chunk, time }, [this.chunk.buffer]);
    this.chunk = new Float32Array(this.chunkSamples); // the other one went with the message
    this.filled = 0;
  }
}

registerProcessor("grove-capture", Capture);
