"""One stream from end to end: chunks of samples to frames of codes, and back to exact samples.

`FrameFeed` and `PcmDrain` hold what surrounds the model (rates, framing, delay, length), so that a
server can put its own batches between them; `EncodeStream` and `DecodeStream` put one codec there.
"""

import numpy as np

from grove.codec.arrays import F32, I64, U16
from grove.codec.channels import down_mix
from grove.codec.config import CodecSpec
from grove.codec.errors import StreamError
from grove.codec.framer import Framer
from grove.codec.resample import Resampler, resampled_samples
from grove.codec.runtime import Codec


def frames_for(spec: CodecSpec, samples: int) -> int:
    """Return how many frames carry `samples` samples at the codec's rate, delay included."""
    return -(-(samples + spec.delay_samples) // spec.hop_samples) if samples else 0


def check_levels(spec: CodecSpec, levels: int) -> None:
    """Refuse levels that the model does not have."""
    if not 1 <= levels <= spec.levels:
        raise StreamError(
            f"levels is {levels}, expected 1 to {spec.levels} for {spec.name}",
            hint=f"they make {spec.bitrate_bps(1) / 1000:g} to "
            f"{spec.bitrate_bps(spec.levels) / 1000:g} kbit/s",
        )


class FrameFeed:
    """Chunks at any rate -> frames [k, hop] at the codec's rate."""

    def __init__(self, spec: CodecSpec, sample_rate_hz: int | None = None) -> None:
        self.spec = spec
        rate_hz = sample_rate_hz or spec.sample_rate_hz
        self._resampler = Resampler(rate_hz, spec.sample_rate_hz)
        self._framer = Framer(spec.hop_samples)
        self._pending = self._framer.start()
        self._frames = 0

    @property
    def samples_in(self) -> int:
        """Samples taken so far, at the input's rate."""
        return self._resampler.samples_in

    @property
    def samples(self) -> int:
        """Samples so far at the codec's rate; after `finish`, of the whole stream."""
        return self._resampler.samples_out

    def push(self, chunk: F32) -> F32:
        """Return the frames [k, hop] that `chunk` [n] or [n, channels] completes."""
        mono = down_mix(chunk) if chunk.ndim == 2 else chunk
        if not np.isfinite(mono).all():
            raise StreamError(f"sample {self.samples_in + _first_bad(mono)} is not a number")
        return self._framed(self._resampler.push(mono))

    def finish(self) -> F32:
        """Return the last frames, with zeros behind the end until the delay is flushed."""
        frames = self._framed(self._resampler.finish())
        tail, _ = self._framer.finish(self._pending)
        missing = frames_for(self.spec, self.samples) - self._frames - len(tail)
        silence = np.zeros((missing, self.spec.hop_samples), np.float32)
        self._frames += len(tail) + missing
        return np.concatenate((frames, tail, silence))

    def _framed(self, samples: F32) -> F32:
        frames, self._pending = self._framer.push(samples, self._pending)
        self._frames += len(frames)
        return frames


class PcmDrain:
    """Decoded pcm at the codec's rate -> samples at any rate, without delay and excess.

    Where the length is known only at the end, `hold_end` keeps back the samples that may be cut.
    """

    def __init__(
        self, spec: CodecSpec, sample_rate_hz: int | None = None, hold_end: bool = False
    ) -> None:
        self.spec = spec
        self.sample_rate_hz = sample_rate_hz or spec.sample_rate_hz
        self._resampler = Resampler(spec.sample_rate_hz, self.sample_rate_hz)
        self._skip = spec.delay_samples
        self._hold = spec.hop_samples - 1 if hold_end else 0
        self._held: F32 = np.zeros(0, np.float32)
        self._sent = 0

    def push(self, pcm: F32) -> F32:
        """Return the samples that pcm [n] completes."""
        skipped = min(self._skip, len(pcm))
        self._skip -= skipped
        ready = np.concatenate((self._held, pcm[skipped:]))
        kept = min(self._hold, len(ready))
        self._held = ready[len(ready) - kept :]
        return self._out(ready[: len(ready) - kept])

    def finish(self, samples: int | None = None, output_samples: int | None = None) -> F32:
        """Return the rest, cut to `samples` at the codec's or `output_samples` at this rate."""
        rest = self._held
        if samples is not None:
            rest = rest[: max(0, samples - self._resampler.samples_in)]
        parts = np.concatenate((self._resampler.push(rest), self._resampler.finish()))
        if output_samples is not None:
            parts = parts[: max(0, output_samples - self._sent)]
        self._sent += len(parts)
        return parts

    def _out(self, pcm: F32) -> F32:
        converted = self._resampler.push(pcm)
        self._sent += len(converted)
        return converted


class EncodeStream:
    """One stream of samples, encoded as it comes."""

    def __init__(self, codec: Codec, sample_rate_hz: int | None = None) -> None:
        self.codec = codec
        self.feed = FrameFeed(codec.spec, sample_rate_hz)
        self._state = codec.encoder_state(1)

    def push(self, chunk: F32) -> U16:
        """Return the frames of codes [T, K] that `chunk` [n] or [n, channels] completes."""
        return self._encoded(self.feed.push(chunk))

    def finish(self) -> U16:
        """Return the last frames of codes [T, K]."""
        return self._encoded(self.feed.finish())

    def _encoded(self, frames: F32) -> U16:
        codes, self._state = self.codec.encode_step(frames.reshape(1, -1), self._state)
        first: U16 = codes[0]
        return first


class DecodeStream:
    """One stream of codes, decoded as it comes."""

    def __init__(
        self, codec: Codec, sample_rate_hz: int | None = None, hold_end: bool = False
    ) -> None:
        self.codec = codec
        self.drain = PcmDrain(codec.spec, sample_rate_hz, hold_end)
        self._state = codec.decoder_state(1)

    def push(self, codes: U16, levels: I64 | int | None = None) -> F32:
        """Return the samples that codes [T, K] complete; a level of 0 marks a lost frame."""
        count = self.codec.spec.levels if levels is None else levels
        per_frame = np.broadcast_to(np.asarray(count, np.int64), (len(codes),))
        pcm, self._state = self.codec.decode_step(codes[None], per_frame[None], self._state)
        return self.drain.push(pcm[0])

    def finish(self, samples: int | None = None, output_samples: int | None = None) -> F32:
        """Return the rest; see `PcmDrain.finish`."""
        return self.drain.finish(samples, output_samples)


def encode(codec: Codec, pcm: F32, sample_rate_hz: int | None = None) -> U16:
    """Return codes [T, K] of whole audio [n] or [n, channels]."""
    stream = EncodeStream(codec, sample_rate_hz)
    return np.concatenate((stream.push(pcm), stream.finish()))


def decode(
    codec: Codec,
    codes: U16,
    samples: int,
    levels: I64 | int | None = None,
    sample_rate_hz: int | None = None,
) -> F32:
    """Return audio of `samples` samples at the codec's rate, or as many as match at another."""
    stream = DecodeStream(codec, sample_rate_hz, hold_end=True)
    rate_hz = codec.spec.sample_rate_hz
    wanted = resampled_samples(samples, rate_hz, sample_rate_hz or rate_hz)
    return np.concatenate((stream.push(codes, levels), stream.finish(samples, wanted)))


def _first_bad(samples: F32) -> int:
    return int(np.flatnonzero(~np.isfinite(samples))[0])
