"""Containers from containers, without decoding audio: join, cut, lower the bitrate.

Each function returns what was wrong with its sources; frames lost there have level 0 in the result.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from grove.codec.container.assembler import Block, Levels, SegmentEnd, SegmentStart
from grove.codec.container.damage import Damage
from grove.codec.container.file import ContainerFile, ContainerReader
from grove.codec.container.header import ContainerHeader, check_same_frames
from grove.codec.container.records import MAX_SOURCE_DRIFT_SAMPLES, Segment, scaled_sample_count
from grove.codec.container.writer import ByteSink, ContainerWriter
from grove.codec.errors import BitstreamError, ModelMismatchError
from grove.codec.stream import frames_around

# Longer than the default decoder remembers (8 blocks of 7 taps), so that a cut changes no sample.
DEFAULT_PREROLL_FRAMES = 50


def concat(sources: Sequence[Path], out: ByteSink) -> tuple[tuple[Damage, ...], ...]:
    """Join files of one model: every segment keeps its frames and counts, the decoder restarts."""
    header = _joint_header(sources)
    writer = ContainerWriter(out, header)
    damage = []
    for source in sources:
        with source.open("rb") as file:
            reader = ContainerFile(file)
            same_rate = reader.header.source_sample_rate_hz == header.source_sample_rate_hz
            _copy(reader, writer, _unchanged, keeps_source_counts=same_rate)
            damage.append(reader.damage)
    writer.finish()
    return tuple(damage)


def lower_levels(source: Path, out: ByteSink, level: int) -> tuple[Damage, ...]:
    """Keep at most `level` levels of every frame."""
    with source.open("rb") as file:
        reader = ContainerFile(file)
        if not 0 <= level <= reader.header.codec.levels:
            raise BitstreamError(f"level must lie in 0..{reader.header.codec.levels}, got {level}")
        writer = ContainerWriter(out, reader.header)
        _copy(reader, writer, lambda levels: np.minimum(levels, level), keeps_source_counts=True)
        writer.finish()
        return reader.damage


def trim(
    source: Path,
    out: ByteSink,
    first_sample: int,
    end_sample: int,
    preroll_frames: int = DEFAULT_PREROLL_FRAMES,
) -> tuple[Damage, ...]:
    """Keep the samples first_sample..end_sample - 1, counted at the codec's rate.

    `preroll_frames` frames before the cut stay in, for the decoder to warm up on; what it makes
    of them is skipped.
    """
    if preroll_frames < 0:
        raise BitstreamError(f"preroll_frames must be at least 0, got {preroll_frames}")
    with source.open("rb") as file:
        reader = ContainerFile(file)
        if not 0 <= first_sample <= end_sample <= reader.sample_count:
            raise BitstreamError(
                f"samples {first_sample}..{end_sample} are not within 0..{reader.sample_count}"
            )
        writer = ContainerWriter(out, reader.header)
        segment_sample = 0
        for segment in reader.segments:
            start = max(0, first_sample - segment_sample)
            stop = min(segment.sample_count, end_sample - segment_sample)
            if start < stop:
                _copy_part(reader, writer, segment, (start, stop), preroll_frames)
            segment_sample += segment.sample_count
        writer.finish()
        return reader.damage


def _joint_header(sources: Sequence[Path]) -> ContainerHeader:
    """Return the header of the files joined; refuse files that do not belong together."""
    if not sources:
        raise BitstreamError("nothing to join: no file given")
    joint = _read_header(sources[0])
    for source in sources[1:]:
        joint = _merged(joint, _read_header(source), source.name)
    return joint


def _read_header(source: Path) -> ContainerHeader:
    with source.open("rb") as file:
        return ContainerReader(file).header


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


def _unchanged(levels: Levels) -> Levels:
    return levels


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


def _copy_part(
    reader: ContainerFile,
    writer: ContainerWriter,
    segment: Segment,
    samples: tuple[int, int],
    preroll_frames: int,
) -> None:
    """Copy the frames that samples start..stop - 1 of a segment need, as a segment of its own."""
    spec, (start, stop) = reader.header.codec, samples
    skip = segment.skip_samples
    part = frames_around(spec, start + skip, stop + skip, preroll_frames)
    writer.begin_segment(part.skip_samples)
    for block in reader.blocks(segment.first_frame + part.first, segment.first_frame + part.end):
        writer.write(block.codes, block.levels)
    writer.end_segment(stop - start, _source_count(segment, start, stop, reader.header))


def _source_count(segment: Segment, start: int, stop: int, header: ContainerHeader) -> int:
    """Return how many of the original's samples a part stands for; parts add up to the whole."""
    whole, original = segment.sample_count, segment.source_sample_count
    count = stop * original // whole - start * original // whole
    # Cutting again and again must not add up rounding until a reader refuses the count.
    exact, slack = scaled_sample_count(stop - start, header), MAX_SOURCE_DRIFT_SAMPLES - 1
    return min(max(count, exact - slack), exact + slack)
