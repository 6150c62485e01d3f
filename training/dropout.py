"""Dropout of levels and packets: the bitrates a batch is to serve, and bursts of losses."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grove.training.config import DropoutConfig


class Carried(NamedTuple):
    """What the decoder will receive."""

    levels: Tensor  # int64 [B, T], zero where the packet is lost
    unquantized: Tensor  # bool [B], items whose latent passes as it is


def draw_carried(
    config: DropoutConfig, levels: int, shape: tuple[int, int], rng: np.random.Generator
) -> Carried:
    """Draw levels for `shape` = (batch, frames)."""
    batch, frames = shape
    full = rng.random(batch) < config.full_share
    per_item = np.where(full, levels, _draw_levels(config, levels, batch, rng))
    drawn = np.repeat(per_item[:, None], frames, axis=1)
    unquantized = rng.random(batch) < config.unquantized_share
    for item in np.flatnonzero(rng.random(batch) < config.erasure_share):
        drawn[item, draw_bursts(config, frames, rng)] = 0
    return Carried(torch.from_numpy(drawn), torch.from_numpy(unquantized))


def _draw_levels(
    config: DropoutConfig, levels: int, batch: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    if not config.level_weights:
        return rng.integers(1, levels + 1, batch)
    weights = np.array(config.level_weights[:levels])
    return rng.choice(np.arange(1, len(weights) + 1), batch, p=weights / weights.sum())


def draw_bursts(config: DropoutConfig, frames: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return a mask [T] of lost frames, in bursts, near `erasure_rate` of them on average."""
    lost = np.zeros(frames, dtype=bool)
    shortest, longest = config.burst_frames
    mean_length = (shortest + longest) / 2
    start_probability = config.erasure_rate / mean_length
    for start in np.flatnonzero(rng.random(frames) < start_probability):
        lost[start : start + rng.integers(shortest, longest + 1)] = True
    return lost
