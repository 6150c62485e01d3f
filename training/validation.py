"""Validation during a run: held-out clips scored by ear-like metrics, not by the training loss."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from grove.codec.arrays import F32
from grove.codec.model.codec import CodecNetwork
from grove.training.config import Recipe
from grove.training.data.cache import AudioCache
from grove.training.data.clips import held_out_clips
from grove.training.evaluation.metrics import score


class LevelScores(NamedTuple):
    """Means over the clips at one number of levels: speech metrics over speech, mel over all."""

    level: int
    pesq_wb: float
    stoi: float
    log_mel: float


class Validator:
    """Holds the clips: always the same ones for one cache."""

    def __init__(self, cache: AudioCache, recipe: Recipe) -> None:
        config = recipe.validation
        self.clips = held_out_clips(cache, config.clips, config.clip_seconds, recipe.data.kinds)

    def scores(self, codec: CodecNetwork, weights: dict[str, Tensor]) -> list[LevelScores]:
        """Score `weights` at the lowest, the middle and the highest level."""
        levels = codec.quantizer.levels
        with borrowed_weights(codec, weights):
            return [self._at(codec, level) for level in sorted({1, max(1, levels // 2), levels})]

    def _at(self, codec: CodecNetwork, level: int) -> LevelScores:
        found = [
            score(clip.samples, decoded(codec, clip.samples, level), clip.kind)
            for clip in self.clips
        ]
        return LevelScores(
            level,
            _mean([s.pesq_wb for s in found]),
            _mean([s.stoi for s in found]),
            _mean([s.log_mel for s in found]),
        )


@contextmanager
def borrowed_weights(codec: CodecNetwork, weights: dict[str, Tensor]) -> Iterator[None]:
    """Put `weights` into an evaluating codec for a while, and its own back afterwards."""
    parameters = dict(codec.named_parameters())
    own = {name: parameters[name].detach().clone() for name in weights}
    modes = {module: module.training for module in codec.modules()}
    codec.eval()
    try:
        _put(parameters, weights)
        yield
    finally:
        _put(parameters, own)
        for module, training in modes.items():
            module.training = training


@torch.no_grad()
def _put(parameters: dict[str, torch.nn.Parameter], weights: dict[str, Tensor]) -> None:
    for name, value in weights.items():
        parameters[name].copy_(value)


@torch.no_grad()
def decoded(codec: CodecNetwork, clip: F32, level: int) -> F32:
    """Return what `codec` makes of one clip at `level`."""
    device = next(codec.parameters()).device
    pcm = torch.from_numpy(clip)[None].to(device)
    levels = torch.full((1, codec.frames(pcm.shape[1])), level, device=device)
    output: F32 = codec(pcm, levels).pcm[0].float().cpu().numpy()
    return output


def _mean(values: list[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")
