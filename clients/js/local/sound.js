// AudioWorklets beside the Worker: sound goes from one to the other, and not through the page's thread.

const PLAYOUT_SECONDS = 0.08;

/**
 * Let `encoder`, of a codec with `worker: true`, hear an audio node. Packets come with `time`, the
 * context's time of their last sample. Return the AudioWorkletNode.
 */
export async function captureInto(encoder, source, { chunkSeconds = 0.02, onPackets, onError }) {
  const { context } = source;
  await context.audioWorklet.addModule(new URL("capture-worklet.js", import.meta.url));
  const node = new AudioWorkletNode(context, "grove-capture", {
    numberOfOutputs: 0,
    processorOptions: { chunkSamples: Math.round(chunkSeconds * context.sampleRate) },
  });
  const { port1, port2 } = new MessageChannel();
  await encoder.listen(port1, onPackets, onError);
  node.port.postMessage(port2, [port2]);
  source.connect(node);
  return node;
}

/**
 * Let `decoder`, of a codec with `worker: true`, be heard: return an AudioWorkletNode to connect.
 * `onWaiting` gets how many seconds wait to be played.
 */
export async function playFrom(decoder, context, { targetSeconds = PLAYOUT_SECONDS, onWaiting = () => {} } = {}) {
  await context.audioWorklet.addModule(new URL("playout-worklet.js", import.meta.url));
  const node = new AudioWorkletNode(context, "grove-playout", {
    numberOfInputs: 0,
    outputChannelCount: [1],
    processorOptions: { targetSamples: Math.round(targetSeconds * context.sampleRate) },
  });
  node.port.onmessage = (event) => onWaiting(event.data);
  const { port1, port2 } = new MessageChannel();
  await decoder.play(port1);
  node.port.postMessage(port2, [port2]);
  return node;
}
