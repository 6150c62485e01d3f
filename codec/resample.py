"""Streaming conversion between sample rates, by soxr."""

from typing import Final

import numpy as np
import soxr

from grove.codec.arrays import F32
from grove.codec.errors import AudioError, StreamError

MIN_RATE_HZ: Final = 8_000
MAX_RATE_HZ: Final = 192_000

# Zeros fed behind the last sample, in samples of the slower rate, until the tail is complete.
_FLUSH_SAMPLES: Final = 4


def resampled_samples(samples: int, from_rate_hz: int, to_rate_hz: int) -> int:
    """Return ceil(samples * to / from): what covers the same time, never less."""
    return -(-samples * to_rate_hz // from_rate_hz)


def check_rate(rate_hz: int) -> None:
    """Refuse a rate that nothing is converted from or to."""
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise AudioError(f"sample rate is {rate_hz} Hz, expected {MIN_RATE_HZ} to {MAX_RATE_HZ}")


class Resampler:
    """One stream of samples at one rate, turned into another; sample 0 stays at time 0.

    The output does not depend on how the input is cut into chunks, and n samples in all give
    `resampled_samples(n)` out. soxr's linear-phase filter works in blocks, so output follows
    input by about 39 ms at 16 kHz and above, and 74 ms from or to 8 kHz; equal rates add nothing.
    """

    def __init__(self, from_rate_hz: int, to_rate_hz: int) -> None:
        check_rate(from_rate_hz)
        check_rate(to_rate_hz)
        self.from_rate_hz = from_rate_hz
        self.to_rate_hz = to_rate_hz
        self.samples_in = 0
        self.samples_out = 0
        self._finished = False
        self._soxr = (
            None
            if from_rate_hz == to_rate_hz
            else soxr.ResampleStream(from_rate_hz, to_rate_hz, 1, dtype="float32", quality="HQ")
        )

    def push(self, chunk: F32) -> F32:
        """Return the samples [m] that `chunk` [n] completes."""
        if self._finished:
            raise StreamError(f"{len(chunk)} samples came after the end of the stream")
        self.samples_in += len(chunk)
        resampled = self._converted(chunk)
        self.samples_out += len(resampled)
        return resampled

    def finish(self) -> F32:
        """Return the samples still held back; the stream takes no more."""
        if self._finished:
            raise StreamError("the stream was finished twice")
        self._finished = True
        expected = resampled_samples(self.samples_in, self.from_rate_hz, self.to_rate_hz)
        tail = self._flushed(expected - self.samples_out)
        self.samples_out = expected
        return tail

    def _converted(self, chunk: F32) -> F32:
        if self._soxr is None:
            return chunk.copy()
        converted: F32 = self._soxr.resample_chunk(np.ascontiguousarray(chunk))
        return converted

    def _flushed(self, missing: int) -> F32:
        """Return exactly `missing` samples of the filter's tail."""
        if self._soxr is None or missing == 0:
            return np.empty(0, np.float32)
        # soxr alone rounds the length, to either side; a few zeros make it reach the ceiling.
        zeros = np.zeros(_FLUSH_SAMPLES * max(1, self.from_rate_hz // self.to_rate_hz), np.float32)
        tail: F32 = self._soxr.resample_chunk(zeros, last=True)
        assert len(tail) >= missing, f"soxr flushed {len(tail)} samples, expected {missing}"
        return tail[:missing].copy()


def resample(samples: F32, from_rate_hz: int, to_rate_hz: int) -> F32:
    """Return `samples` [n] at another rate, the same as streamed."""
    resampler = Resampler(from_rate_hz, to_rate_hz)
    return np.concatenate((resampler.push(samples), resampler.finish()))
