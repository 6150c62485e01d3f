"""Whole files through the codec: decoded audio or token files in, tokens or audio out."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from codec.config import CodecSpec
from codec.container import ContainerFile
from codec.container_read import Block, Event, SegmentEnd, SegmentStart
from codec.errors import BitstreamError
from codec.resample import resampled_samples
from codec.stream import FrameFeed
from server.bulk import BulkStream, audio_slices, token_slices
from server.decoders import DecodedFile
from server.engine import Engine
from server.models import Model
from server.outlet import Outlet
from server.work import F32, I64, U16, Audio, Stepped, Tokens

_FLOW_BLOCK_FRAMES = 1024


@dataclass
class Progress:
    """How much audio has been through the codec so far."""

    seconds: float = 0.0


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
        self, decoded: "DecodedFile", sample_rate_hz: int, levels: int
    ) -> AsyncIterator[F32]:
        """Yield the samples of a file after coding, at `sample_rate_hz`."""
        feed = FrameFeed(self.model.spec)
        outlet = Outlet(self.model.spec, sample_rate_hz)
        stream = BulkStream(self.engine, self.model, to_audio=True)
        async for stepped in stream.run(self._audio(decoded, feed, levels, outlet)):
            assert stepped.pcm is not None
            self._count(stepped)
            yield outlet.push(stepped.pcm)
        yield outlet.finish(transcoded_samples(decoded, self.model.spec, sample_rate_hz))

    async def decode(self, tokens: "TokenFile", sample_rate_hz: int) -> AsyncIterator[F32]:
        """Yield the samples of a token file, segment after segment."""
        async for segment in tokens.segments():
            outlet = Outlet(self.model.spec, sample_rate_hz, segment.skip_samples)
            if segment.sample_count is not None:
                outlet.end_at(segment.sample_count)
            stream = BulkStream(self.engine, self.model, to_audio=True)
            async for stepped in stream.run(self._tokens(segment)):
                assert stepped.pcm is not None
                self._count(stepped)
                yield outlet.push(stepped.pcm)
            yield outlet.finish()

    def _count(self, stepped: Stepped) -> None:
        self.progress.seconds += len(stepped.levels) / self.model.spec.frame_rate_hz

    async def _audio(
        self, decoded: DecodedFile, feed: FrameFeed, levels: int, outlet: Outlet | None = None
    ) -> AsyncIterator[Audio]:
        size = self.engine.slice_frames
        async for block in decoded.blocks():
            for work in audio_slices(feed.push(block), levels, size, time.monotonic()):
                yield work
        frames = feed.finish()
        if outlet is not None:
            outlet.end_at(feed.samples)
        for work in audio_slices(frames, levels, size, time.monotonic()):
            yield work

    async def _tokens(self, segment: "TokenSegment") -> AsyncIterator[Tokens]:
        async for codes, levels in segment.blocks:
            for work in token_slices(codes, levels, self.engine.slice_frames, time.monotonic()):
                yield work


@dataclass(frozen=True)
class TokenSegment:
    """Frames of one encoder run; `sample_count` is None where only the frames say."""

    skip_samples: int
    sample_count: int | None
    blocks: AsyncIterator[tuple[U16, I64]]


class TokenFile:
    """A container, or frames already in memory."""

    def __init__(self, events: Iterator[Event], sample_counts: list[int] | None) -> None:
        self._events = events
        self._sample_counts = sample_counts

    def samples_at(self, spec: CodecSpec, sample_rate_hz: int) -> int | None:
        """Return how many samples decoding gives, where the file says."""
        if self._sample_counts is None:
            return None
        return sum(
            resampled_samples(count, spec.sample_rate_hz, sample_rate_hz)
            for count in self._sample_counts
        )

    async def segments(self) -> AsyncIterator[TokenSegment]:
        """Yield the segments; the blocks of each must be used up before the next."""
        number = 0
        while (event := await asyncio.to_thread(next, self._events, None)) is not None:
            if isinstance(event, SegmentStart):
                counts = self._sample_counts
                known = counts[number] if counts is not None and number < len(counts) else None
                yield TokenSegment(event.skip_samples, known, self._blocks())
                number += 1

    async def _blocks(self) -> AsyncIterator[tuple[U16, I64]]:
        while (event := await asyncio.to_thread(next, self._events, None)) is not None:
            match event:
                case Block():
                    yield event.codes[0], event.levels[0]
                case SegmentEnd():
                    return


def container_tokens(file: ContainerFile, max_seconds: float) -> TokenFile:
    """Return the tokens of a container, within the limit on time."""
    header = file.header
    seconds = file.frame_count / header.codec.frame_rate_hz
    if seconds > max_seconds:
        raise BitstreamError(
            f"the file has {seconds:.1f} seconds of audio, expected at most {max_seconds:g}"
        )
    if header.channels != 1:
        raise BitstreamError(
            f"the file has {header.channels} channels, the service takes 1",
            hint="decode it with the command line",
        )
    return TokenFile(file.events(), [segment.sample_count for segment in file.segments])


def plain_tokens(codes: U16, levels: I64, sample_count: int | None) -> TokenFile:
    """Return frames [T, K] that are in memory already."""
    blocks = [
        Block(0, start, codes[None, start : start + _FLOW_BLOCK_FRAMES], part[None])
        for start in range(0, len(codes), _FLOW_BLOCK_FRAMES)
        for part in [levels[start : start + _FLOW_BLOCK_FRAMES]]
    ]
    events: list[Event] = [SegmentStart(0, 0, 0), *blocks]
    return TokenFile(iter(events), None if sample_count is None else [sample_count])


def transcoded_samples(decoded: DecodedFile, spec: CodecSpec, sample_rate_hz: int) -> int | None:
    """Return how many samples transcoding gives, as far as the file's own claim goes."""
    samples = decoded.end.source_samples if decoded.end else decoded.declared_samples
    if samples is None or sample_rate_hz == decoded.sample_rate_hz:
        return samples
    codec_samples = resampled_samples(samples, decoded.sample_rate_hz, spec.sample_rate_hz)
    return resampled_samples(codec_samples, spec.sample_rate_hz, sample_rate_hz)
