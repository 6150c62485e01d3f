"""Batches of whole signals of unequal length: coded together, none changed by its company.

The longest come first, so that those still running are always the first rows of the batch.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from grove.codec.arrays import F32, I64, U16
from grove.codec.runtime import Codec
from grove.codec.stream import frames_for

_MOST_FRAMES: Final = 1024
"""Of all rows in one step: beyond what fills the calls, only memory would grow."""


def encode_ragged(codec: Codec, signals: Sequence[F32]) -> list[U16]:
    """Return codes [T, K] of each signal [n] at the codec's rate, its delay flushed."""
    hop = codec.spec.hop_samples
    frames = [frames_for(codec.spec, len(signal)) for signal in signals]
    codes = [np.zeros((count, len(codec.spec.code_sizes)), np.uint16) for count in frames]
    order = sorted(range(len(signals)), key=lambda index: -frames[index])
    state = codec.encoder_state(len(signals))
    for alive, start, stop in _steps([frames[index] for index in order]):
        rows = [_cut(signals[index], start * hop, stop * hop) for index in order[:alive]]
        step, state = codec.encode_step(np.stack(rows), state[:alive])
        for row, index in enumerate(order[:alive]):
            codes[index][start:stop] = step[row]
    return codes


def decode_ragged(codec: Codec, codes: Sequence[U16], levels: Sequence[I64]) -> list[F32]:
    """Return pcm [T*hop - delay] of each row of codes [T, K] at levels [T]."""
    spec = codec.spec
    pcm = [np.zeros(len(row) * spec.hop_samples, np.float32) for row in codes]
    order = sorted(range(len(codes)), key=lambda index: -len(codes[index]))
    state = codec.decoder_state(len(codes))
    for alive, start, stop in _steps([len(codes[index]) for index in order]):
        step, state = codec.decode_step(
            np.stack([codes[index][start:stop] for index in order[:alive]]),
            np.stack([levels[index][start:stop] for index in order[:alive]]),
            state[:alive],
        )
        for row, index in enumerate(order[:alive]):
            pcm[index][start * spec.hop_samples : stop * spec.hop_samples] = step[row]
    return [row[spec.delay_samples :] for row in pcm]


def _steps(falling: list[int]) -> list[tuple[int, int, int]]:
    """Return (rows alive, start, stop) in frames, the same rows alive from start to stop."""
    edges = [0, *sorted({count for count in falling if count})]
    steps: list[tuple[int, int, int]] = []
    for first, last in pairwise(edges):
        alive = sum(count > first for count in falling)
        size = max(1, _MOST_FRAMES // alive)
        steps += [(alive, at, min(at + size, last)) for at in range(first, last, size)]
    return steps


def _cut(signal: F32, start: int, stop: int) -> F32:
    """Return samples start to stop, zeros behind the end."""
    part = signal[start:stop]
    return np.pad(part, (0, stop - start - len(part)))
