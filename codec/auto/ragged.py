"""Batches of whole signals of unequal length: coded together, none changed by its company.

The longest come first, so that those still running are always the first rows of the batch.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from grove.codec.arrays import F32, I64, U16
from grove.codec.config import CodecSpec
from grove.codec.runtime import Codec
from grove.codec.stream import FrameFeed, SampleDrain

_MOST_FRAMES: Final = 1024
"""Of all rows in one step: beyond what fills the calls, only memory would grow."""


def encode_ragged(codec: Codec, signals: Sequence[F32]) -> list[U16]:
    """Return codes [T, K] of each signal [n] at the codec's rate, its delay flushed."""
    frames = [codec.spec.frames_for(len(signal)) for signal in signals]
    codes = [np.zeros((count, len(codec.spec.code_sizes)), np.uint16) for count in frames]
    order = sorted(range(len(signals)), key=lambda index: -frames[index])
    rows = [_Framed(codec.spec, signals[index]) for index in order]
    state = codec.encoder_state(len(signals))
    for alive, start, stop in _steps([frames[index] for index in order]):
        pcm = np.stack([row.take(stop - start) for row in rows[:alive]])
        step, state = codec.encode_step(pcm, state[:alive])
        for row, index in enumerate(order[:alive]):
            codes[index][start:stop] = step[row]
    return codes


def decode_ragged(codec: Codec, codes: Sequence[U16], levels: Sequence[I64]) -> list[F32]:
    """Return pcm [T*hop - delay] of each row of codes [T, K] at levels [T]."""
    drains = [SampleDrain(codec.spec) for _ in codes]
    pcm: list[list[F32]] = [[np.zeros(0, np.float32)] for _ in codes]
    order = sorted(range(len(codes)), key=lambda index: -len(codes[index]))
    state = codec.decoder_state(len(codes))
    for alive, start, stop in _steps([len(codes[index]) for index in order]):
        step, state = codec.decode_step(
            np.stack([codes[index][start:stop] for index in order[:alive]]),
            np.stack([levels[index][start:stop] for index in order[:alive]]),
            state[:alive],
        )
        for row, index in enumerate(order[:alive]):
            pcm[index].append(drains[index].push(step[row : row + 1])[:, 0])
    return [np.concatenate(parts) for parts in pcm]


class _Framed:
    """One whole signal, framed as far as it is asked for: a copy of all would double the memory."""

    def __init__(self, spec: CodecSpec, signal: F32) -> None:
        self._feed = FrameFeed(spec)
        self._signal: F32 | None = signal
        self._ready = np.zeros((0, spec.hop_samples), np.float32)

    def take(self, count: int) -> F32:
        """Return the samples [count * hop] of the next frames."""
        if self._signal is not None:
            size = count * self._feed.spec.hop_samples
            parts = [self._ready, self._feed.push(self._signal[:size])]
            self._signal = self._signal[size:]
            if len(self._signal) == 0:
                parts.append(self._feed.finish())
                self._signal = None
            self._ready = np.concatenate(parts)
        taken, self._ready = self._ready[:count], self._ready[count:]
        return taken.ravel()


def _steps(falling: list[int]) -> list[tuple[int, int, int]]:
    """Return (rows alive, start, stop) in frames, the same rows alive from start to stop."""
    edges = [0, *sorted({count for count in falling if count})]
    steps: list[tuple[int, int, int]] = []
    for first, last in pairwise(edges):
        alive = sum(count > first for count in falling)
        size = max(1, _MOST_FRAMES // alive)
        steps += [(alive, at, min(at + size, last)) for at in range(first, last, size)]
    return steps
