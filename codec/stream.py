"""One stream from end to end: chunks of samples to frames of codes, and back to exact samples.

`FrameFeed` and `SampleDrain` hold what surrounds the model (rates, framing, delay, length), so
that a server can put its own batches between them; `EncodeStream` and `DecodeStream` put a codec
there. Nothing else in the tree trims decoded samples or counts frames.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from grove.codec.arrays import F32, I64, U16
from grove.codec.channels import down_mix, join_channels, split_channels
from grove.codec.config import CodecSpec
from grove.codec.errors import StreamError
from grove.codec.framer import Framer
from grove.codec.resample import Resampler, resampled_samples


class FrameCodec(Protocol):
    """The steps of a codec: `grove.codec.runtime.Codec` has them."""

    @property
    def spec(self) -> CodecSpec: ...

    def encoder_state(self, batch: int) -> F32:
        """Return the memory [B, S] of streams that have not begun."""
        ...

    def decoder_state(self, batch: int) -> F32:
        """Return the memory [B, S] of streams that have not begun."""
        ...

    def encode_step(self, pcm: F32, state: F32) -> tuple[U16, F32]:
        """Return codes [B, T, K] and the new memory for pcm [B, T*hop]."""
        ...

    def decode_step(self, codes: U16, levels: I64, state: F32) -> tuple[F32, F32]:
        """Return pcm [B, T*hop] and the new memory for codes [B, T, K] at levels [B, T]."""
        ...


# --- which frames, which codes ----------------------------------------------------------


class FrameRange(NamedTuple):
    """The frames first..end - 1, of whose sound `skip_samples` are too much in front."""

    first: int
    end: int
    skip_samples: int


def frames_around(spec: CodecSpec, start: int, stop: int, preroll_frames: int = 0) -> FrameRange:
    """Return the frames that sound as samples start..stop - 1, and some to warm up on."""
    # Sample p leaves the decoder as p + delay. The delay is dropped from what the range gives too,
    # so it matters for the last frame only.
    first = max(0, start // spec.hop_samples - preroll_frames)
    end = -(-(stop + spec.delay_samples) // spec.hop_samples)
    return FrameRange(first, end, start - first * spec.hop_samples)


def check_levels(spec: CodecSpec, levels: int) -> None:
    """Refuse levels that the model does not have."""
    if not 1 <= levels <= spec.levels:
        raise StreamError(
            f"levels is {levels}, expected 1 to {spec.levels} for {spec.name}",
            hint=f"they make {spec.bitrate_bps(1) / 1000:g} to "
            f"{spec.bitrate_bps(spec.levels) / 1000:g} kbit/s",
        )


def carried_codes(spec: CodecSpec) -> U16:
    """Return [levels + 1, K]: at each level a factor of 1 for the codes it carries, 0 above."""
    places = np.arange(len(spec.code_sizes))
    carried = [places < spec.codes_at(level) for level in range(spec.levels + 1)]
    return np.array(carried, np.uint16)


def widened(spec: CodecSpec, codes: U16) -> U16:
    """Return codes [T, k] of the first books as frames of all books, zeros above."""
    wide = np.zeros((len(codes), len(spec.code_sizes)), np.uint16)
    wide[:, : codes.shape[1]] = codes
    return wide


# --- in ---------------------------------------------------------------------------------


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

    @property
    def pending_samples(self) -> int:
        """Samples at the codec's rate that wait for a frame to be full."""
        return max(0, self.samples - self._frames * self.spec.hop_samples)

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
        missing = self.spec.frames_for(self.samples) - self._frames - len(tail)
        silence = np.zeros((missing, self.spec.hop_samples), np.float32)
        self._frames += len(tail) + missing
        return np.concatenate((frames, tail, silence))

    def _framed(self, samples: F32) -> F32:
        frames, self._pending = self._framer.push(samples, self._pending)
        self._frames += len(frames)
        return frames


class EncodeStream:
    """One stream of samples, or several side by side, encoded as they come."""

    def __init__(
        self, codec: FrameCodec, sample_rate_hz: int | None = None, channels: int = 1
    ) -> None:
        self.codec = codec
        self.channels = channels
        self.frames = 0
        self._feeds = [FrameFeed(codec.spec, sample_rate_hz) for _ in range(channels)]
        self._state = codec.encoder_state(channels)

    @property
    def samples_in(self) -> int:
        """Samples taken so far, at the input's rate."""
        return self._feeds[0].samples_in

    @property
    def samples(self) -> int:
        """Samples so far at the codec's rate; after `finish`, of the whole stream."""
        return self._feeds[0].samples

    def push(self, chunk: F32) -> U16:
        """Return the frames of codes [C, T, K] that `chunk` [n] or [n, channels] completes.

        A stream alone is the mean of all channels that come.
        """
        parts = (chunk,) if self.channels == 1 else split_channels(chunk)
        return self._encoded(
            [feed.push(part) for feed, part in zip(self._feeds, parts, strict=True)]
        )

    def finish(self) -> U16:
        """Return the last frames of codes [C, T, K]."""
        return self._encoded([feed.finish() for feed in self._feeds])

    def _encoded(self, frames: list[F32]) -> U16:
        pcm = np.stack(frames).reshape(self.channels, -1)
        codes, self._state = self.codec.encode_step(pcm, self._state)
        self.frames += codes.shape[1]
        return codes


# --- out --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tail:
    """The end is said after the last frame, and may cut off so many samples of what came."""

    samples: int

    @classmethod
    def of_frame(cls, spec: CodecSpec) -> "Tail":
        """Return what a stream of just the frames that it needs has too much."""
        return cls(spec.hop_samples - 1)


End = int | Tail | None
"""Where a stream ends: at so many samples of the codec's rate; in its `Tail`, which is held back
until `finish`; or, with nothing held, at the last frame unless `end_at` says otherwise in time."""


class SampleDrain:
    """Decoded samples at the codec's rate -> those that count, at any rate.

    In front, the decoder's delay is dropped, and `skip_samples` that only warm it up; behind, what
    lies beyond the end.
    """

    def __init__(
        self,
        spec: CodecSpec,
        sample_rate_hz: int | None = None,
        channels: int = 1,
        skip_samples: int = 0,
        end: End = None,
    ) -> None:
        self.spec = spec
        self.sample_rate_hz = sample_rate_hz or spec.sample_rate_hz
        self._resamplers = [
            Resampler(spec.sample_rate_hz, self.sample_rate_hz) for _ in range(channels)
        ]
        self._to_skip = spec.delay_samples + skip_samples
        self._end = end if isinstance(end, int) else None
        self._tail_samples = end.samples if isinstance(end, Tail) else 0
        self._held: F32 = np.zeros((channels, 0), np.float32)

    def end_at(self, samples: int) -> None:
        """Let nothing out beyond so many samples at the codec's rate."""
        self._end = samples

    def push(self, pcm: F32) -> F32:
        """Return the samples [m, C] that pcm [C, n] completes."""
        if self._to_skip:
            skipped = min(self._to_skip, pcm.shape[1])
            self._to_skip -= skipped
            pcm = pcm[:, skipped:]
        if self._tail_samples:
            came = np.concatenate((self._held, pcm), axis=1)
            count = max(0, came.shape[1] - self._tail_samples)
            # A copy, or the few samples held would keep a whole block in memory.
            pcm, self._held = came[:, :count], came[:, count:].copy()
        return self._released(pcm)

    def finish(self, output_samples: int | None = None) -> F32:
        """Return the rest [m, C], so that `output_samples` came in all.

        Without a number, as many come as the end makes at this rate, or all where none is known.
        """
        sent = self._resamplers[0].samples_out
        held = self._released(self._held)
        flushed = join_channels(tuple(resampler.finish() for resampler in self._resamplers))
        rest = np.concatenate((held, flushed))
        if output_samples is None and self._end is not None:
            output_samples = resampled_samples(
                self._end, self.spec.sample_rate_hz, self.sample_rate_hz
            )
        if output_samples is None:
            return rest
        rest = rest[: max(0, output_samples - sent)]
        # Counts of joined and cut files may ask for a few samples more than their frames yield.
        missing = max(0, output_samples - sent - len(rest))
        return np.pad(rest, ((0, missing), (0, 0)))

    def _released(self, pcm: F32) -> F32:
        if self._end is not None:
            pcm = pcm[:, : max(0, self._end - self._resamplers[0].samples_in)]
        if len(self._resamplers) == 1:
            return self._resamplers[0].push(pcm[0])[:, None]
        pairs = zip(self._resamplers, pcm, strict=True)
        return join_channels(tuple(resampler.push(channel) for resampler, channel in pairs))


class DecodeStream:
    """One stream of codes, or several side by side, decoded as they come."""

    def __init__(
        self,
        codec: FrameCodec,
        sample_rate_hz: int | None = None,
        channels: int = 1,
        skip_samples: int = 0,
        end: End = None,
    ) -> None:
        self.codec = codec
        self.drain = SampleDrain(codec.spec, sample_rate_hz, channels, skip_samples, end)
        self._state = codec.decoder_state(channels)

    def push(self, codes: U16, levels: I64 | int | None = None) -> F32:
        """Return the samples [n, C] that codes [C, T, K] complete; level 0 marks a lost frame."""
        count = self.codec.spec.levels if levels is None else levels
        per_frame = np.broadcast_to(np.asarray(count, np.int64), codes.shape[:2])
        pcm, self._state = self.codec.decode_step(codes, per_frame, self._state)
        return self.drain.push(pcm)

    def finish(self, samples: int | None = None, output_samples: int | None = None) -> F32:
        """Return the rest [n, C] of a stream that ends at `samples` of the codec's rate.

        For `output_samples` see `SampleDrain.finish`.
        """
        if samples is not None:
            self.drain.end_at(samples)
        return self.drain.finish(output_samples)


# --- whole signals ----------------------------------------------------------------------


def encode(codec: FrameCodec, pcm: F32, sample_rate_hz: int | None = None) -> U16:
    """Return codes [T, K] of whole audio [n] or [n, channels]."""
    stream = EncodeStream(codec, sample_rate_hz)
    codes: U16 = np.concatenate((stream.push(pcm), stream.finish()), axis=1)[0]
    return codes


def decode(
    codec: FrameCodec,
    codes: U16,
    samples: int,
    levels: I64 | int | None = None,
    sample_rate_hz: int | None = None,
) -> F32:
    """Return audio of `samples` samples at the codec's rate, or as many as match at another."""
    stream = DecodeStream(codec, sample_rate_hz, end=samples)
    sound: F32 = np.concatenate((stream.push(codes[None], levels), stream.finish()))[:, 0]
    return sound


def _first_bad(samples: F32) -> int:
    return int(np.flatnonzero(~np.isfinite(samples))[0])
