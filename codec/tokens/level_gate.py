"""A level gate: keeps what is loud enough, whatever it is; or everything, if not asked for."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from grove.codec.arrays import F32
from grove.codec.tokens.records import LevelGateConfig

_WINDOW_S = 0.02


@dataclass(frozen=True, slots=True)
class Cut:
    """Samples to keep; `begins` where what lay before them was dropped."""

    at: int
    """Samples before this one, counted from the first push."""
    samples: F32
    begins: bool


class LevelGate:
    """Keeps windows above a level, `padding_s` around them, and pauses that are short.

    Decided window by window, so that it does not depend on how the audio was cut into blocks.
    """

    def __init__(self, config: LevelGateConfig | None, rate_hz: int) -> None:
        self._config = config
        self._window = max(1, round(_WINDOW_S * rate_hz))
        self._pending = np.zeros(0, np.float32)
        self._at = 0
        if config is not None:
            windows_per_s = rate_hz / self._window
            self._padding = round(config.padding_s * windows_per_s)
            self._pause = max(1, round(config.shortest_pause_s * windows_per_s))
            self._threshold = 10 ** (config.threshold_dbfs / 10)
        self._quiet: list[F32] = []
        self._speaking = False

    def push(self, block: F32) -> Iterator[Cut]:
        """Yield what to keep of mono samples [n]."""
        if self._config is None:
            yield Cut(self._at, block, begins=False)
            self._at += len(block)
            return
        samples = np.concatenate((self._pending, block))
        whole = len(samples) - len(samples) % self._window
        self._pending = samples[whole:].copy()
        for start in range(0, whole, self._window):
            yield from self._windowed(samples[start : start + self._window])

    def finish(self) -> Iterator[Cut]:
        """Yield the end, where speech lasts up to it."""
        if self._config is None:
            return
        if len(self._pending):
            yield from self._windowed(self._pending)
            self._pending = self._pending[:0]
        if self._speaking and self._quiet:
            kept = self._quiet[: self._padding]
            at = self._at - sum(map(len, self._quiet))
            self._quiet = []
            if kept:
                yield Cut(at, np.concatenate(kept), begins=False)

    def _windowed(self, window: F32) -> Iterator[Cut]:
        self._at += len(window)
        power = float(np.mean(np.square(window, dtype=np.float64)))
        if power < self._threshold:
            self._quiet.append(window.copy())
            if self._speaking and len(self._quiet) >= self._pause:
                yield from self._closed()
            elif not self._speaking:
                del self._quiet[: -self._padding or None]
            return
        kept = np.concatenate([*self._quiet, window])
        yield Cut(self._at - len(kept), kept, begins=not self._speaking)
        self._quiet, self._speaking = [], True

    def _closed(self) -> Iterator[Cut]:
        """End a stretch of speech: its padding is kept, the pause is dropped."""
        at = self._at - sum(map(len, self._quiet))
        kept, self._quiet = self._quiet[: self._padding], self._quiet[self._padding :]
        self._speaking = False
        del self._quiet[: -self._padding or None]
        if kept:
            yield Cut(at, np.concatenate(kept), begins=False)
