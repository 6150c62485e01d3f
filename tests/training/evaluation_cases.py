"""A codec simple enough to be right by inspection, and sounds to put through it."""

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from grove.codec.arrays import F32
from grove.codec.config import CodecSpec
from grove.training.evaluation.metrics import SCORING_RATE_HZ

HOP_SAMPLES = 32
DELAY_SAMPLES = 16
STEPS = 16


class MuLawCodec:
    """Mu-law in two levels of 4 bits a sample, 16 samples late; no levels decode to zeros."""

    def __init__(self) -> None:
        self.spec = CodecSpec(
            name="mu-law",
            version="1.0.0",
            model_sha256="0" * 64,
            sample_rate_hz=SCORING_RATE_HZ,
            hop_samples=HOP_SAMPLES,
            delay_samples=DELAY_SAMPLES,
            code_sizes=(STEPS,) * (2 * HOP_SAMPLES),
            codes_per_level=(HOP_SAMPLES, HOP_SAMPLES),
        )

    def encoder_state(self, batch: int) -> F32:
        return np.zeros((batch, DELAY_SAMPLES), np.float32)

    def decoder_state(self, batch: int) -> F32:
        return np.zeros((batch, 1), np.float32)

    def encode_step(self, pcm: F32, state: F32) -> tuple[NDArray[np.uint16], F32]:
        late = np.concatenate([state, pcm], axis=1)
        companded = np.sign(late) * np.log1p(255 * np.abs(late)) / np.log(256)
        index = np.clip(np.round(companded * 127 + 128), 0, 255).astype(np.uint16)
        frames = index[:, : pcm.shape[1]].reshape(len(pcm), -1, HOP_SAMPLES)
        return np.concatenate([frames // STEPS, frames % STEPS], axis=2), late[:, pcm.shape[1] :]

    def decode_step(
        self, codes: NDArray[np.uint16], levels: NDArray[np.int64], state: F32
    ) -> tuple[F32, F32]:
        coarse, fine = np.split(codes.astype(np.float32), 2, axis=2)
        fine = np.where(levels[..., None] == 2, fine, STEPS / 2)
        companded = (coarse * STEPS + fine - 128) / 127
        pcm = np.sign(companded) * (256 ** np.abs(companded) - 1) / 255
        pcm = np.where(levels[..., None] == 0, 0, pcm).astype(np.float32)
        return pcm.reshape(len(codes), -1), state


def speech_like(seconds: float, seed: int = 0) -> F32:
    """Return a buzz under a syllable rhythm, in which PESQ finds utterances."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * SCORING_RATE_HZ)) / SCORING_RATE_HZ
    pitch_hz = 120 + 20 * np.sin(2 * np.pi * 0.7 * time + seed)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SCORING_RATE_HZ
    buzz = sum(np.sin(n * phase) / n for n in range(1, 30))
    rhythm = np.clip(np.sin(2 * np.pi * 2.5 * time), 0, 1)
    sound = 0.15 * rhythm * (buzz + 0.1 * rng.standard_normal(len(time)))
    return np.asarray(sound, np.float32)


def write_clips(folder: Path) -> None:
    """Write a manifest with a speech clip of each group and one of noise."""
    soundfile.write(folder / "a.wav", speech_like(1.2, 1), SCORING_RATE_HZ)
    soundfile.write(folder / "b.wav", speech_like(1.1, 2), SCORING_RATE_HZ)
    noise = np.random.default_rng(3).standard_normal(12_000).astype(np.float32) * 0.1
    soundfile.write(folder / "c.wav", noise, SCORING_RATE_HZ)
    rows = [
        "file,kind,native_rate",
        "a.wav,speech,48000",
        "b.wav,speech,22050",
        "c.wav,noise,44100",
    ]
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
