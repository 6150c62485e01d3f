"""Whole files through the codec: decoded audio or token files in, tokens or audio out."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np

from grove.codec.arrays import F32
from grove.codec.config import CodecSpec
from grove.codec.resample import resampled_samples
from grove.codec.stream import FrameFeed, SampleDrain
from grove.server.engine.engine import Engine
from grove.server.engine.work import Audio, Stepped, Tokens
from grove.server.files.bulk import BulkStream
from grove.server.files.decoders import DecodedFile
from grove.server.files.token_files import TokenFile, TokenSegment
from grove.server.models import Model


@dataclass
class Progress:
    """How much audio has been through the codec so far."""

    seconds: float = 0.0
    total_seconds: float | None = None


@dataclass(frozen=True)
class FileCodec:
    """One model in the engine, for files."""

    engine: Engine
    model: Model
    progress: Progress

    async def encode(
        self, decoded: DecodedFile, feed: FrameFeed, levels: int
    ) -> AsyncIterator[Stepped]:
        """Yield the tokens of a file whose samples come at the codec's rate."""
        stream = BulkStream(self.engine, self.model, to_audio=False)
        async for stepped in stream.run(self._audio(decoded, feed, levels)):
            self._count(stepped)
            yield stepped

    async def transcode(
        self, decoded: DecodedFile, sample_rate_hz: int, levels: int
    ) -> AsyncIterator[F32]:
        """Yield the samples of a file after coding, at `sample_rate_hz`."""
        feed = FrameFeed(self.model.spec)
        drain = SampleDrain(self.model.spec, sample_rate_hz)
        stream = BulkStream(self.engine, self.model, to_audio=True)
        async for stepped in stream.run(self._audio(decoded, feed, levels, drain)):
            assert stepped.pcm is not None
            self._count(stepped)
            yield drain.push(stepped.pcm[None])[:, 0]
        promised = transcoded_samples(decoded, self.model.spec, sample_rate_hz)
        yield drain.finish(promised)[:, 0]

    async def decode(self, tokens: TokenFile, sample_rate_hz: int) -> AsyncIterator[F32]:
        """Yield the samples of a token file, segment after segment."""
        async for segment in tokens.segments():
            async for samples in self._segment(segment, sample_rate_hz):
                yield samples

    async def _segment(self, segment: TokenSegment, sample_rate_hz: int) -> AsyncIterator[F32]:
        """Yield just the samples that the segment promises, as far as it does."""
        drain = SampleDrain(
            self.model.spec,
            sample_rate_hz,
            skip_samples=segment.skip_samples,
            end=segment.sample_count,
        )
        stream = BulkStream(self.engine, self.model, to_audio=True)
        async for stepped in stream.run(self._tokens(segment)):
            assert stepped.pcm is not None
            self._count(stepped)
            yield drain.push(stepped.pcm[None])[:, 0]
        yield drain.finish()[:, 0]

    def _count(self, stepped: Stepped) -> None:
        self.progress.seconds += len(stepped.levels) / self.model.spec.frame_rate_hz

    async def _audio(
        self, decoded: DecodedFile, feed: FrameFeed, levels: int, drain: SampleDrain | None = None
    ) -> AsyncIterator[Audio]:
        async for block in decoded.blocks():
            yield _audio(feed.push(block), levels)
        frames = feed.finish()
        if drain is not None:
            drain.end_at(feed.samples)
        yield _audio(frames, levels)

    async def _tokens(self, segment: TokenSegment) -> AsyncIterator[Tokens]:
        async for codes, levels in segment.blocks:
            yield Tokens(codes, levels, time.monotonic())


def _audio(frames: F32, levels: int) -> Audio:
    return Audio(frames, np.full(len(frames), levels, np.int64), time.monotonic())


def transcoded_samples(decoded: DecodedFile, spec: CodecSpec, sample_rate_hz: int) -> int | None:
    """Return how many samples transcoding gives, as far as the file's own claim goes."""
    samples = decoded.end.source_samples if decoded.end else decoded.declared_samples
    if samples is None or sample_rate_hz == decoded.sample_rate_hz:
        return samples
    codec_samples = resampled_samples(samples, decoded.sample_rate_hz, spec.sample_rate_hz)
    return resampled_samples(codec_samples, spec.sample_rate_hz, sample_rate_hz)
