"""Bursts of lost packets, and what a receiver may do about them."""

import zlib
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from grove.codec.errors import ConfigError

LONGEST_BURST_FRAMES = 5
# The chance that a burst goes on for another frame: 2.2 frames on average.
BURST_CONTINUES = 0.65
HIGHEST_LOSS_RATE = 0.5
# A pattern always starts with a gap; this far on, its first frame is lost as often as any other.
_RUN_IN_FRAMES = 200

Bool = NDArray[np.bool_]
Concealment = Literal["zero-level", "repeat", "silence", "own"]
"""Frames of zero levels; the last frame again; zeros for samples; what the peer itself does."""


def burst_losses(frames: int, loss_rate: float, rng: np.random.Generator) -> Bool:
    """Return which of `frames` are lost: bursts of 1 to 5 frames, `loss_rate` of all in the mean.

    Gilbert's model with its bursts cut at 5: their lengths are truncated geometric, and the gaps
    between them geometric.
    """
    if not 0 <= loss_rate <= HIGHEST_LOSS_RATE:
        raise ConfigError(f"loss rate {loss_rate} is outside 0..{HIGHEST_LOSS_RATE}")
    lost = np.zeros(_RUN_IN_FRAMES + frames, np.bool_)
    if loss_rate == 0:
        return lost[_RUN_IN_FRAMES:]
    lengths, shares = burst_lengths()
    mean_gap = float(lengths @ shares) * (1 - loss_rate) / loss_rate
    position = int(rng.geometric(1 / mean_gap))
    while position < len(lost):
        length = int(rng.choice(lengths, p=shares))
        lost[position : position + length] = True
        position += length + int(rng.geometric(1 / mean_gap))
    return lost[_RUN_IN_FRAMES:]


def burst_lengths() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the possible lengths of a burst and the share of bursts with each."""
    lengths = np.arange(1, LONGEST_BURST_FRAMES + 1)
    weights = BURST_CONTINUES ** (lengths - 1)
    return lengths, weights / weights.sum()


def losses_of(clip: str, frames: int, loss_rate: float, seed: int) -> Bool:
    """Return a clip's pattern: the same for every system, and whichever clips are beside it."""
    rng = np.random.default_rng([seed, zlib.crc32(clip.encode()), round(loss_rate * 1e6)])
    return burst_losses(frames, loss_rate, rng)
