// The microphone on one side, the loudspeaker on the other.

const PLAYOUT_SECONDS = 0.08;

export class MicrophoneFailure extends Error {}

// Return a context with the worklets in it, which a microphone may use when the server is gone.
export async function preparedContext(rateHz) {
  const context = new AudioContext({ sampleRate: rateHz, latencyHint: "interactive" });
  await addWorklets(context);
  await context.suspend();
  return context;
}

export class Microphone {
  // Resolve once sound flows; `onChunk` gets one frame at a time, `onWaiting` the play-out buffer.
  static async start(model, onChunk, onWaiting, prepared = null) {
    const stream = await ask();
    const made = new Microphone();
    made.stream = stream;
    made.prepared = prepared;
    try {
      await made.connect(model, onChunk, onWaiting);
    } catch (error) {
      made.stop();
      throw error;
    }
    return made;
  }

  async connect(model, onChunk, onWaiting) {
    const frameSeconds = model.hop_samples / model.sample_rate_hz;
    this.openContext(model.sample_rate_hz);
    if (this.context !== this.prepared) await addWorklets(this.context);
    const chunkSamples = Math.round(frameSeconds * this.context.sampleRate);
    this.capture = new AudioWorkletNode(this.context, "capture", {
      numberOfOutputs: 0,
      processorOptions: { chunkSamples },
    });
    this.capture.port.onmessage = (event) => onChunk(event.data);
    const targetSamples = Math.round(PLAYOUT_SECONDS * this.context.sampleRate);
    this.playout = new AudioWorkletNode(this.context, "playout", {
      numberOfInputs: 0,
      outputChannelCount: [1],
      processorOptions: { targetSamples },
    });
    this.playout.port.onmessage = (event) => onWaiting(event.data / this.context.sampleRate);
    this.volume = this.context.createGain();
    this.volume.gain.value = 0;
    this.playout.connect(this.volume).connect(this.context.destination);
    this.source.connect(this.capture);
    await this.context.resume();
  }

  // Some browsers do not resample a microphone; the server does.
  openContext(rateHz) {
    this.context = this.prepared ?? new AudioContext({ sampleRate: rateHz, latencyHint: "interactive" });
    try {
      this.source = this.context.createMediaStreamSource(this.stream);
    } catch {
      if (!this.prepared) this.context.close();
      this.context = new AudioContext({ latencyHint: "interactive" });
      this.source = this.context.createMediaStreamSource(this.stream);
    }
  }

  get rateHz() {
    return this.context.sampleRate;
  }

  get deviceSeconds() {
    return (this.context.baseLatency || 0) + (this.context.outputLatency || 0);
  }

  play(samples) {
    this.playout.port.postMessage(samples, [samples.buffer]);
  }

  setAudible(isAudible) {
    this.volume.gain.setTargetAtTime(isAudible ? 1 : 0, this.context.currentTime, 0.02);
  }

  stop() {
    for (const track of this.stream.getTracks()) track.stop();
    if (this.capture) this.capture.port.onmessage = null;
    if (!this.context) return;
    if (this.context !== this.prepared) {
      this.context.close();
      return;
    }
    for (const node of [this.source, this.playout, this.volume]) node?.disconnect();
    this.context.suspend();
  }
}

function addWorklets(context) {
  const add = (name) => context.audioWorklet.addModule(new URL(name, import.meta.url));
  return Promise.all([add("capture-worklet.js"), add("playout-worklet.js")]);
}

async function ask() {
  if (!navigator.mediaDevices) {
    throw new MicrophoneFailure(
      "Browsers give the microphone only to pages on https or on this computer itself. " +
        "Open the page there, or choose a file.",
    );
  }
  // What makes calls pleasant also changes the sound that the codec is to be judged by.
  const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: { ...plain, channelCount: 1 } });
  } catch (error) {
    throw new MicrophoneFailure(reason(error));
  }
}

function reason(error) {
  switch (error.name) {
    case "NotAllowedError":
      return "The microphone was refused. Allow it in the browser's settings for this page and start again, or choose a file.";
    case "NotFoundError":
      return "No microphone was found. Plug one in and start again, or choose a file.";
    case "NotReadableError":
      return "The microphone is in use by another program. Close that one and start again, or choose a file.";
    default:
      return `The microphone did not start (${error.name}). Choose a file instead.`;
  }
}
