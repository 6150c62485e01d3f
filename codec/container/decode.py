"""Whole containers to audio, block by block, and audio straight through the codec."""

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np

from grove.codec.arrays import F32, I64, U16
from grove.codec.channels import join_channels
from grove.codec.container.assembler import Block, Event, SegmentEnd, SegmentStart
from grove.codec.container.encode import AudioEncoder
from grove.codec.container.header import ContainerHeader
from grove.codec.container.records import MAX_TAIL_FRAMES, Segment
from grove.codec.resample import Resampler, check_rate, resampled_samples
from grove.codec.runtime import Codec
from grove.codec.stream import check_levels


class EventSource(Protocol):
    """A container being read: `ContainerReader` or `ContainerFile`."""

    @property
    def header(self) -> ContainerHeader: ...

    def events(self) -> Iterator[Event]: ...


class SegmentDecoder:
    """The frames of one segment to samples at any rate.

    The last frames wait until the end of the segment says how many of their samples count.
    """

    def __init__(self, codec: Codec, channels: int, skip_samples: int, rate_hz: int) -> None:
        spec = codec.spec
        self._codec = codec
        self._state = codec.decoder_state(channels)
        self._to_skip = spec.delay_samples + skip_samples
        self._held = np.zeros((channels, 0), np.float32)
        self._hold_samples = MAX_TAIL_FRAMES * spec.hop_samples
        self._resamplers = [Resampler(spec.sample_rate_hz, rate_hz) for _ in range(channels)]
        self._released = 0
        self._sent = 0

    def push(self, codes: U16, levels: I64) -> F32:
        """Return the samples [n, C] that codes [C, T, K] at levels [C, T] complete."""
        pcm, self._state = self._codec.decode_step(codes, levels, self._state)
        skipped = min(self._to_skip, pcm.shape[1])
        self._to_skip -= skipped
        ready = np.concatenate((self._held, pcm[:, skipped:]), axis=1)
        count = max(0, ready.shape[1] - self._hold_samples)
        self._held = ready[:, count:].copy()
        return self._released_to_rate(ready[:, :count])

    def finish(self, samples: int, output_samples: int) -> F32:
        """Return the rest [n, C]: `samples` in all at the codec's rate, `output_samples` out."""
        wanted = max(0, output_samples - self._sent)
        rest = self._held[:, : max(0, samples - self._released)]
        tail = np.concatenate((self._released_to_rate(rest), self._flushed()))[:wanted]
        # Counts of joined and cut files may ask for a few samples more than their frames yield.
        silence = np.zeros((wanted - len(tail), tail.shape[1]), np.float32)
        return np.concatenate((tail, silence))

    def _released_to_rate(self, pcm: F32) -> F32:
        self._released += pcm.shape[1]
        pairs = zip(self._resamplers, pcm, strict=True)
        block = join_channels(tuple(resampler.push(channel) for resampler, channel in pairs))
        self._sent += len(block)
        return block

    def _flushed(self) -> F32:
        return join_channels(tuple(resampler.finish() for resampler in self._resamplers))


def decode_container(
    codec: Codec,
    container: EventSource,
    rate_hz: int | None = None,
    levels: int | None = None,
) -> Iterator[F32]:
    """Yield the audio of a container in blocks [n, C], at the original's rate if none is given.

    `levels` drops what frames carry beyond it. Refuses, before the first block, what is another
    model's.
    """
    header = container.header
    header.check_model(codec.spec, codec.bundle.accepted_models)
    if levels is not None:
        check_levels(codec.spec, levels)
    return _decoded(codec, container, rate_hz or header.source_sample_rate_hz, levels)


def _decoded(
    codec: Codec, container: EventSource, rate_hz: int, levels: int | None
) -> Iterator[F32]:
    header = container.header
    check_rate(rate_hz)
    # A file may name thousands of segments without a frame, so a decoder waits for the first one.
    decoder: SegmentDecoder | None = None
    skip_samples = 0
    for event in container.events():
        match event:
            case SegmentStart():
                decoder, skip_samples = None, event.skip_samples
            case Block():
                decoder = decoder or SegmentDecoder(codec, header.channels, skip_samples, rate_hz)
                kept = event.levels if levels is None else np.minimum(event.levels, levels)
                yield decoder.push(event.codes, kept)
            case SegmentEnd():
                segment = event.segment
                wanted = output_samples(header, segment, rate_hz)
                if decoder is None:
                    yield np.zeros((wanted, header.channels), np.float32)
                else:
                    yield decoder.finish(segment.sample_count, wanted)


def output_samples(header: ContainerHeader, segment: Segment, rate_hz: int) -> int:
    """Return how many samples a segment has at a rate; exact at the original's and the codec's."""
    if rate_hz == header.codec.sample_rate_hz:
        return segment.sample_count
    return resampled_samples(segment.source_sample_count, header.source_sample_rate_hz, rate_hz)


def transcode_audio(
    encoder: AudioEncoder, blocks: Iterable[F32], source_rate_hz: int, levels: int, rate_hz: int
) -> Iterator[F32]:
    """Yield what a listener would hear after coding, in blocks [n, streams], as long as the source.

    It is to the sample what encoding to a container and decoding that gives.
    """
    check_levels(encoder.codec.spec, levels)
    return _transcoded(encoder, blocks, source_rate_hz, levels, rate_hz)


def _transcoded(
    encoder: AudioEncoder, blocks: Iterable[F32], source_rate_hz: int, levels: int, rate_hz: int
) -> Iterator[F32]:
    decoder = SegmentDecoder(encoder.codec, encoder.streams, 0, rate_hz)
    for block in blocks:
        yield _passed(decoder, encoder.push(block), levels)
    yield _passed(decoder, encoder.finish(), levels)
    length = encoder.length
    at_codec_rate = rate_hz == encoder.codec.spec.sample_rate_hz
    yield decoder.finish(
        length.samples,
        length.samples
        if at_codec_rate
        else resampled_samples(length.source_samples, source_rate_hz, rate_hz),
    )


def _passed(decoder: SegmentDecoder, codes: U16, levels: int) -> F32:
    return decoder.push(codes, np.full(codes.shape[:2], levels, np.int64))
