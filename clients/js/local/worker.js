// The codec in a Worker: calls come as messages, sound may come and go through ports of worklets.

import { GroveCodec, GroveCodecError } from "./index.js";

const MOST_WAITING = 15; // chunks of a worklet, 20 ms each

const streams = new Map();
let codec = null;

const port = globalThis.postMessage ? globalThis : (await import("node:worker_threads")).parentPort;
if (port === globalThis) port.onmessage = (event) => serve(event.data);
else port.on("message", serve);
port.postMessage({ started: true });

async function serve({ call, stream, method, args }) {
  try {
    const value = await (stream ? onStream(stream, method, args) : onCodec(method, args));
    port.postMessage({ call, value });
  } catch (error) {
    // Errors lose their class on the way, so the parts go.
    port.postMessage({ call, error: { code: error.code, message: error.message, hint: error.hint } });
  }
}

async function onCodec(method, args) {
  switch (method) {
    case "load": {
      const [source, { lock, ...options }] = args;
      if (lock) {
        await held(lock);
        port.postMessage({ locked: lock });
      }
      const onProgress = (progress) => port.postMessage({ progress });
      codec = await GroveCodec.load(source, { ...options, onProgress });
      return { spec: codec.spec, manifest: codec.manifest };
    }
    case "encoder":
    case "decoder":
      streams.set(args[0], codec[method](args[1]));
      return undefined;
    default:
      return codec[method](...args);
  }
}

async function onStream(id, method, args) {
  const stream = streams.get(id);
  if (!stream) throw new GroveCodecError("closed", "the stream is closed");
  if (method === "listen") return listen(id, stream, args[0]);
  if (method === "play") return play(stream, args[0]);
  if (method === "close") streams.delete(id);
  const value = await stream[method](...args);
  if (method === "finish") streams.delete(id);
  return value;
}

// Samples straight from a worklet; packets go to the page, with the time that came with the samples.
function listen(id, encoder, input) {
  const waiting = [];
  let isBusy = false;
  input.onmessage = async ({ data }) => {
    waiting.push(data);
    if (isBusy) return;
    isBusy = true;
    try {
      while (waiting.length) await encodeNext(id, encoder, waiting);
    } catch (error) {
      input.close();
      const { code, message, hint } = error;
      port.postMessage({ stream: id, error: { code, message, hint } });
    }
    isBusy = false;
  };
}

async function encodeNext(id, encoder, waiting) {
  // On a device that is too slow, what is old is worth less than being on time.
  if (waiting.length > MOST_WAITING) {
    const late = waiting.splice(0, waiting.length - 1);
    await encoder.skip(late.reduce((sum, { samples }) => sum + samples.length, 0));
  }
  const { samples, time } = waiting.shift();
  const packets = await encoder.push(samples);
  for (const packet of packets) packet.time = time;
  if (packets.length) port.postMessage({ stream: id, packets });
}

// What is decoded goes straight to a worklet; the page gets how many samples there were.
function play(decoder, output) {
  const push = decoder.push.bind(decoder);
  const lost = decoder.lost.bind(decoder);
  const toPort = async (samples) => {
    const count = samples.length;
    if (count) output.postMessage(samples, [samples.buffer]);
    return count;
  };
  decoder.push = async (packets) => toPort(await push(packets));
  decoder.lost = async (count) => toPort(await lost(count));
}

// The lock goes when this Worker does, however it ends: so the page learns of it.
function held(lock) {
  return new Promise((resolve) => {
    navigator.locks.request(lock, () => {
      resolve();
      return new Promise(() => {});
    });
  });
}
