// A file as samples: what the browser can decode, at the model's rate, mixed to one channel.

const MAX_SECONDS = 300;
const MAX_BYTES = 200e6;

export async function readAudio(file, rateHz) {
  if (file.size > MAX_BYTES) throw new Error(`${file.name} has more than ${MAX_BYTES / 1e6} MB.`);
  const context = new OfflineAudioContext(1, 1, rateHz);
  let audio;
  try {
    audio = await context.decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new Error(`This browser cannot read ${file.name}. Choose WAV, FLAC, MP3, Ogg or M4A.`);
  }
  if (audio.duration > MAX_SECONDS) {
    throw new Error(
      `${file.name} has ${Math.round(audio.duration)} s; this page takes up to ${MAX_SECONDS}. ` +
        "The REST routes below take more.",
    );
  }
  const mono = new Float32Array(audio.length);
  for (let channel = 0; channel < audio.numberOfChannels; channel++) {
    audio.getChannelData(channel).forEach((sample, i) => {
      mono[i] += sample / audio.numberOfChannels;
    });
  }
  return mono;
}
