"""The shipped codec and real recordings, for the laws that hold on them."""

import os
from pathlib import Path

import numpy as np
import pytest

from grove.codec.arrays import F32
from grove.codec.bundle import load_bundle
from grove.codec.channels import down_mix
from grove.codec.resample import resample
from grove.codec.runtime import Codec
from grove.codec.sound.source import open_audio

FIXTURES = Path(__file__).parent.parent / "fixtures"
LAW_FRAMES = 20_000
RATE_HZ = 24_000


@pytest.fixture(scope="session")
def codec() -> Codec:
    return Codec(load_bundle())


def read_clip(path: Path) -> F32:
    with open_audio(path) as source:
        pcm = np.concatenate([down_mix(block) for block in source])
        return resample(pcm, source.sample_rate_hz, RATE_HZ)


def speech_files() -> list[Path]:
    """Return the fixtures, and with them the speech of the folder that GROVE_AUDIO names."""
    files = sorted(FIXTURES.glob("speech-*.flac"))
    more = os.environ.get("GROVE_AUDIO")
    if more:
        files += sorted(Path(more).rglob("speech*.flac"))
    assert files, f"no speech under {FIXTURES}"
    return files


@pytest.fixture(scope="session")
def clips() -> list[F32]:
    return [read_clip(path) for path in speech_files()]


@pytest.fixture(scope="session")
def law_pcm(clips: list[F32], codec: Codec) -> F32:
    """Real speech [8, T*hop] of at least 20,000 frames: the clips at falling levels."""
    hop = codec.spec.hop_samples
    once = np.concatenate(clips)
    wanted = LAW_FRAMES * hop
    gains = [0.8**turn for turn in range(-(-wanted // len(once)))]
    pcm = np.concatenate([once * np.float32(gain) for gain in gains])
    rows = 8
    frames = max(LAW_FRAMES, len(once) // hop) // rows
    return pcm[: rows * frames * hop].reshape(rows, frames * hop)
