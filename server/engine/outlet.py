"""Decoded audio on its way out: without skip, delay and padding, at the rate asked for."""

from grove.codec.arrays import F32
from grove.codec.config import CodecSpec
from grove.codec.stream import PcmDrain


class Outlet:
    """A `PcmDrain` that holds nothing back: the end is set before padding can reach it."""

    def __init__(self, spec: CodecSpec, sample_rate_hz: int, skip_samples: int = 0) -> None:
        self._delay_samples = spec.delay_samples
        self._drain = PcmDrain(spec, sample_rate_hz)
        self._to_skip = skip_samples
        self._taken = 0
        self._end: int | None = None

    def end_at(self, codec_samples: int) -> None:
        """Let nothing out beyond so many samples at the codec's rate."""
        self._end = self._delay_samples + codec_samples

    def push(self, pcm: F32) -> F32:
        """Return the samples to hand on for decoded `pcm` [n]."""
        if self._to_skip:
            skipped = min(self._to_skip, len(pcm))
            self._to_skip -= skipped
            pcm = pcm[skipped:]
        if self._end is not None:
            pcm = pcm[: max(0, self._end - self._taken)]
        self._taken += len(pcm)
        return self._drain.push(pcm)

    def finish(self, output_samples: int | None = None) -> F32:
        """Return what the resampler holds, cut so that `output_samples` came out in all."""
        return self._drain.finish(output_samples=output_samples)
