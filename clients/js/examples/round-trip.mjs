// Stream a WAV file (16-bit mono) to tokens and back: node round-trip.mjs <url> <wav> [key]
import { readFile } from "node:fs/promises";
import { Grove, framesOf } from "../grove-client.js";

const [url, path, key] = process.argv.slice(2);
const grove = new Grove(url, key);
const wav = await readFile(path);
const samples = wav.subarray(44);
const settings = { pace: "file", sample_rate: wav.readUInt32LE(24) };

async function sendAll(stream, send, chunks) {
  for (const chunk of chunks) await send(chunk);
  stream.finalize();
}

const encoder = await grove.stream({ mode: "encode", levels: 3, ...settings });
const chunks = Array.from({ length: Math.ceil(samples.length / 960) }, (_, n) =>
  samples.subarray(960 * n, 960 * (n + 1)),
);
const sending = sendAll(encoder, (chunk) => encoder.send(chunk), chunks);
const tokens = [];
for await (const packet of encoder) tokens.push(packet);
await sending;

const decoder = await grove.stream({ mode: "decode", ...settings });
const repeating = sendAll(decoder, (packet) => decoder.sendTokens(packet), tokens);
let heard = 0;
for await (const packet of decoder) heard += packet.count;
await repeating;

const codes = tokens.flatMap(framesOf);
console.log(
  JSON.stringify({
    frames: codes.length,
    codesPerFrame: codes[0].length,
    sha256: encoder.summary.sha256,
    samples: heard,
  }),
);
