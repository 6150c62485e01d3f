"""Containers from containers, without decoding audio: join, cut, lower the bitrate.

What was wrong with a source is in its reader's `damage`; frames lost there have level 0 in the
result.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from grove.codec.container.assembler import Block, Levels, SegmentEnd, SegmentStart
from grove.codec.container.file import ContainerFile
from grove.codec.container.header import ContainerHeader, check_same_frames
from grove.codec.container.records import MAX_SOURCE_DRIFT_SAMPLES, Segment, scaled_sample_count
from grove.codec.container.writer import ByteSink, ContainerWriter
from grove.codec.errors import BitstreamError, ModelMismatchError
from grove.codec.stream import frames_around

# Longer than any shipped decoder remembers, so that a cut changes no sample.
DEFAULT_PREROLL_FRAMES = 50


class Written(NamedTuple):
    """What a result holds."""

    frames: int
    samples: int
    """At the codec's rate."""


class NamedHeader(NamedTuple):
    """The header of a file to be joined, and what to call the file."""

    name: str
    header: ContainerHeader


class Joiner:
    """Writes files of one model one after another; each starts its decoder anew.

    Every segment keeps its frames and counts.
    """

    def __init__(self, headers: Iterable[NamedHeader], out: ByteSink) -> None:
        """Refuse files that do not belong together before anything is written."""
        self._writer = ContainerWriter(out, joint_header(headers))

    def append(self, reader: ContainerFile) -> None:
        rate_hz = self._writer.header.source_sample_rate_hz
        same_rate = reader.header.source_sample_rate_hz == rate_hz
        _copy(reader, self._writer, _unchanged, keeps_source_counts=same_rate)

    def finish(self) -> Written:
        return _finished(self._writer)


def lower_levels(reader: ContainerFile, out: ByteSink, level: int) -> Written:
    """Keep at most `level` levels of every frame."""
    at_most = _at_most(level, reader.header)
    writer = ContainerWriter(out, reader.header)
    _copy(reader, writer, at_most, keeps_source_counts=True)
    return _finished(writer)


def trim(
    reader: ContainerFile,
    out: ByteSink,
    first_sample: int,
    end_sample: int,
    *,
    level: int | None = None,
    preroll_frames: int = DEFAULT_PREROLL_FRAMES,
) -> Written:
    """Keep the samples first_sample..end_sample - 1, counted at the codec's rate.

    `preroll_frames` frames before the cut stay in, for the decoder to warm up on; what it makes
    of them is skipped. Of every frame at most `level` levels are kept, if it is given.
    """
    if preroll_frames < 0:
        raise BitstreamError(f"preroll_frames must be at least 0, got {preroll_frames}")
    if not 0 <= first_sample <= end_sample <= reader.sample_count:
        raise BitstreamError(
            f"samples {first_sample}..{end_sample} are not within 0..{reader.sample_count}"
        )
    new_levels = _unchanged if level is None else _at_most(level, reader.header)
    writer = ContainerWriter(out, reader.header)
    segment_sample = 0
    for segment in reader.segments:
        start = max(0, first_sample - segment_sample)
        stop = min(segment.sample_count, end_sample - segment_sample)
        if start < stop:
            part = _Part(segment, start, stop, preroll_frames)
            _copy_part(reader, writer, part, new_levels)
        segment_sample += segment.sample_count
    return _finished(writer)


def joint_header(headers: Iterable[NamedHeader]) -> ContainerHeader:
    """Return the header of the files joined; refuse files that do not belong together."""
    joint: ContainerHeader | None = None
    for name, header in headers:
        joint = header if joint is None else _merged(joint, header, name)
    if joint is None:
        raise BitstreamError("nothing to join: no file given")
    return joint


def _merged(joint: ContainerHeader, header: ContainerHeader, name: str) -> ContainerHeader:
    made_by, model = header.codec.model_sha256, joint.codec.model_sha256
    if made_by != model:
        raise ModelMismatchError(
            f"{name} was made by model {made_by[:12]}, the files before it by {model[:12]}"
        )
    check_same_frames(header.codec, joint.codec)
    if header.channels != joint.channels:
        raise BitstreamError(
            f"{name} has {header.channels} channels, the files before it {joint.channels}"
        )
    same_rate = header.source_sample_rate_hz == joint.source_sample_rate_hz
    same_channels = header.source_channels == joint.source_channels
    return ContainerHeader(
        codec=joint.codec,
        channels=joint.channels,
        source_sample_rate_hz=(
            joint.source_sample_rate_hz if same_rate else joint.codec.sample_rate_hz
        ),
        source_channels=joint.source_channels if same_channels else joint.channels,
        tags={key: text for key, text in joint.tags.items() if header.tags.get(key) == text},
    )


def _finished(writer: ContainerWriter) -> Written:
    writer.finish()
    return Written(writer.frame_count, writer.sample_count)


def _unchanged(levels: Levels) -> Levels:
    return levels


def _at_most(level: int, header: ContainerHeader) -> Callable[[Levels], Levels]:
    if not 0 <= level <= header.codec.levels:
        raise BitstreamError(f"level must lie in 0..{header.codec.levels}, got {level}")
    return lambda levels: np.minimum(levels, level)


def _copy(
    reader: ContainerFile,
    writer: ContainerWriter,
    new_levels: Callable[[Levels], Levels],
    keeps_source_counts: bool,
) -> None:
    for event in reader.events():
        match event:
            case SegmentStart():
                writer.begin_segment(event.skip_samples)
            case Block():
                writer.write(event.codes, new_levels(event.levels))
            case SegmentEnd():
                counts = event.segment
                writer.end_segment(
                    counts.sample_count,
                    counts.source_sample_count if keeps_source_counts else counts.sample_count,
                )


class _Part(NamedTuple):
    """Samples start..stop - 1 of a segment, and how many frames before them are to stay in."""

    segment: Segment
    start: int
    stop: int
    preroll_frames: int


def _copy_part(
    reader: ContainerFile,
    writer: ContainerWriter,
    part: _Part,
    new_levels: Callable[[Levels], Levels],
) -> None:
    """Copy the frames that a part needs, as a segment of its own."""
    spec, (segment, start, stop, preroll_frames) = reader.header.codec, part
    skip = segment.skip_samples
    needed = frames_around(spec, start + skip, stop + skip, preroll_frames)
    writer.begin_segment(needed.skip_samples)
    first = segment.first_frame
    for block in reader.blocks(first + needed.first, first + needed.end):
        writer.write(block.codes, new_levels(block.levels))
    writer.end_segment(stop - start, _source_count(segment, start, stop, reader.header))


def _source_count(segment: Segment, start: int, stop: int, header: ContainerHeader) -> int:
    """Return how many of the original's samples a part stands for; parts add up to the whole."""
    whole, original = segment.sample_count, segment.source_sample_count
    count = stop * original // whole - start * original // whole
    # Cutting again and again must not add up rounding until a reader refuses the count.
    exact, slack = scaled_sample_count(stop - start, header), MAX_SOURCE_DRIFT_SAMPLES - 1
    return min(max(count, exact - slack), exact + slack)
