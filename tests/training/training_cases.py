"""A run small enough to train in a test, on tones that a seed determines."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from grove.training.config import Recipe

RATE_HZ = 24_000

TINY: dict[str, Any] = {
    "name": "tiny",
    "seed": 3,
    "batch": 4,
    "crop_seconds": 0.2,
    "ema_decay": 0.9,
    "codec": {
        "latent": 8,
        "encoder": {"width": 16, "blocks": 1},
        "decoder": {"width": 16, "blocks": 1},
        "quantizer": {"kind": "grvq", "groups": 2, "levels": 2, "book_size": 16},
    },
    "losses": {"scales": [[256, 16], [512, 24]], "loudness": 0.5},
    "dropout": {"full_share": 0.5, "erasure_share": 0.5, "erasure_rate": 0.2},
    "data": {"kinds": {"speech": 1.0, "music": 0.0, "noise": 0.0}, "prefetch": False},
    "checkpoint": {"every_steps": 2, "keep_last": 2},
    "validation": {"every_steps": 1000, "clips": 1, "clip_seconds": 1.0},
    "logging": {"every_steps": 1, "media_every_steps": 1000, "media_clips": 0},
}

RECONSTRUCTION = {"kind": "reconstruction", "steps": 8, "unquantized_steps": 2}
ADVERSARY = {"nets": [{"kind": "band_split", "filters": 2, "windows": [256]}]}


def tiny_recipe(**changes: object) -> Recipe:
    return Recipe.model_validate({"stages": [RECONSTRUCTION], **TINY, **changes})


class ToneBatches:
    """Batch n is a function of n."""

    def __init__(self, recipe: Recipe, rank: int = 0, world: int = 1) -> None:
        self.recipe, self.rank, self.world = recipe, rank, world

    def batch(self, step: int) -> np.ndarray:
        rng = np.random.default_rng(step)
        times = np.arange(self.recipe.crop_samples) / RATE_HZ
        pitches = rng.uniform(80, 2_000, (self.recipe.batch, 3, 1))
        noise = rng.standard_normal((self.recipe.batch, len(times)))
        tones = 0.1 * np.sin(2 * np.pi * pitches * times).sum(axis=1) + 0.02 * noise
        each = self.recipe.batch // self.world
        mine = slice(self.rank * each, (self.rank + 1) * each)
        return tones[mine].astype(np.float32)


def write_corpus(folder: Path, speakers: int = 6) -> Path:
    """Write a manifest and short recordings of tones, a speaker each."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with (folder / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "seconds", "source", "speaker", "native_rate", "kind"])
        for speaker in range(speakers):
            name = f"{speaker}.flac"
            times = np.arange(2 * RATE_HZ) / RATE_HZ
            tone = 0.3 * np.sin(2 * np.pi * (120 + 60 * speaker) * times)
            noisy = tone + 0.05 * rng.standard_normal(len(times))
            soundfile.write(folder / name, noisy, RATE_HZ)
            writer.writerow([name, 2.0, "tones", f"s{speaker}", RATE_HZ, "speech"])
    return folder / "list.csv"


def speech_like(seed: int = 0) -> torch.Tensor:
    """Return a second of harmonics and noise under syllables, [1, N] at 24 kHz."""
    generator = torch.Generator().manual_seed(seed)
    times = torch.arange(24_000) / 24_000
    harmonics = sum(torch.sin(2 * math.pi * 150 * k * times) / k for k in range(1, 20))
    noise = torch.randn(24_000, generator=generator)
    envelope = 0.5 + 0.5 * torch.sin(2 * math.pi * 4 * times)
    return (0.1 * envelope * (harmonics + 0.05 * noise))[None]
