"""Whole containers to audio, block by block, and audio straight through the codec."""

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np

from grove.codec.arrays import F32
from grove.codec.container.assembler import Block, Event, SegmentEnd, SegmentStart
from grove.codec.container.encode import AudioEncoder
from grove.codec.container.header import ContainerHeader
from grove.codec.container.records import MAX_TAIL_FRAMES, Segment
from grove.codec.resample import check_rate, resampled_samples
from grove.codec.runtime import Codec
from grove.codec.stream import DecodeStream, Tail, check_levels


class EventSource(Protocol):
    """A container being read: `ContainerReader` or `ContainerFile`."""

    @property
    def header(self) -> ContainerHeader: ...

    def events(self) -> Iterator[Event]: ...


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
    decoder: DecodeStream | None = None
    skip_samples = 0
    tail = Tail(MAX_TAIL_FRAMES * codec.spec.hop_samples)
    for event in container.events():
        match event:
            case SegmentStart():
                decoder, skip_samples = None, event.skip_samples
            case Block():
                decoder = decoder or DecodeStream(
                    codec, rate_hz, header.channels, skip_samples, tail
                )
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
    decoder = DecodeStream(encoder.codec, rate_hz, encoder.streams)
    for block in blocks:
        yield decoder.push(encoder.push(block), levels)
    last = encoder.finish()
    length = encoder.length
    decoder.drain.end_at(length.samples)
    yield decoder.push(last, levels)
    at_codec_rate = rate_hz == encoder.codec.spec.sample_rate_hz
    yield decoder.finish(
        output_samples=length.samples
        if at_codec_rate
        else resampled_samples(length.source_samples, source_rate_hz, rate_hz)
    )
