"""Decoded samples of one segment, cut to the ones that count."""

import numpy as np

from grove.codec.arrays import F32
from grove.codec.config import CodecSpec
from grove.codec.container.records import MAX_TAIL_FRAMES


class SegmentCut:
    """Drops the decoder's delay and the skip, and holds back what the end may still cut off.

    The sample count is known only after the last frame where a file comes through a pipe.
    """

    def __init__(self, spec: CodecSpec, skip_samples: int) -> None:
        self._drop_samples = spec.delay_samples + skip_samples
        self._hold_samples = MAX_TAIL_FRAMES * spec.hop_samples
        self._held: F32 | None = None
        self._given_samples = 0

    def push(self, pcm: F32) -> F32:
        """Return the samples [C, n] that are certain to count, for decoded ones [C, m]."""
        dropped = min(self._drop_samples, pcm.shape[1])
        self._drop_samples -= dropped
        fresh = pcm[:, dropped:]
        held = fresh if self._held is None else np.concatenate([self._held, fresh], axis=1)
        ready = max(0, held.shape[1] - self._hold_samples)
        # A copy, or the few samples held would keep a whole block in memory.
        self._held = held[:, ready:].copy()
        self._given_samples += ready
        return held[:, :ready]

    def finish(self, sample_count: int) -> F32:
        """Return the last samples, so that `sample_count` were given in all."""
        if self._held is None:
            return np.zeros((1, 0), np.float32)
        rest = self._held[:, : max(0, sample_count - self._given_samples)]
        self._held = None
        return rest
