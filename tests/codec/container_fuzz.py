"""Containers made wrong on purpose: a case is a number, the same bytes on every machine.

*Blind* mutations know where records are, but not how to seal them: whatever they change must be
reported, or change nothing. *Forged* ones state what they like behind right checksums: nothing
can tell their frames from true ones, so only the bounds hold.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from itertools import pairwise

import numpy as np
from container_cases import ODD_SPEC, make_header, synthetic_codes

from grove.codec.bitstream import packed_bytes
from grove.codec.container.records import (
    MARKER_PREFIX,
    BlockHeader,
    FileContext,
    Footer,
    IndexEntry,
    Segment,
    block_header_bytes,
    footer_bytes,
    segment_end_bytes,
    segment_start_bytes,
)
from grove.codec.container.scan import ByteWindow, read_header, scan_records
from grove.codec.container.writer import ContainerWriter

FRAME_COUNT = 16
_EDGES = (0, 1, 2, 3, 255, 256, 1024, 1025, 65_534, 65_535, 2**31, 2**32 - 1)
_LEVELS = np.array([3, 3, 3, 3, 2, 2, 2, 0, 0, 3, 3, 3, 1, 1, 3, 3])


@dataclass(frozen=True, eq=False)
class Original:
    """A file that is right, and everything in it."""

    data: bytes
    channels: int
    codes: np.ndarray
    levels: np.ndarray
    segments: tuple[Segment, ...]

    @cached_property
    def context(self) -> FileContext:
        return read_header(ByteWindow(BytesIO(self.data)))

    @cached_property
    def edges(self) -> list[int]:
        """Return where the header ends, where each record begins, and the end of the file."""
        window = ByteWindow(BytesIO(self.data))
        context = read_header(window)
        starts = [record.offset for record in scan_records(window, context)]
        return [*starts, len(self.data)]


@dataclass(frozen=True, slots=True)
class Case:
    """A file to read; `original` is what it must hold where nothing is reported."""

    data: bytes
    original: Original
    is_forged: bool


def _original(channels: int, block_frames: int) -> Original:
    shown = np.stack([_LEVELS, _LEVELS[::-1]])[:channels]
    codes, levels = synthetic_codes(ODD_SPEC, channels, FRAME_COUNT, shown)
    out = BytesIO()
    header = make_header(ODD_SPEC, channels)  # type: ignore[arg-type]
    writer = ContainerWriter(out, header, block_frames)
    writer.write(codes[:, :9], levels[:, :9])
    writer.end_segment(4000)
    writer.begin_segment(skip_samples=700)
    writer.write(codes[:, 9:], levels[:, 9:])
    writer.close(2000)
    segments = (Segment(0, 9, 0, 4000, 4000), Segment(9, 16, 700, 2000, 2000))
    return Original(out.getvalue(), channels, codes, levels, segments)


ORIGINALS = tuple(_original(channels, frames) for channels in (1, 2) for frames in (1, 3, 100))


def case_of(number: int) -> Case:
    """Return the case of a number: one to four mutations of one of the files."""
    dice = random.Random(number)
    original = dice.choice(ORIGINALS)
    is_forged = dice.random() < 0.5
    mutations = [*_BLIND, *_FORGED] if is_forged else _BLIND
    data = original.data
    for _ in range(dice.choice((1, 1, 2, 4))):
        data = dice.choice(mutations)(data, original, dice)
    return Case(data, original, is_forged)


def _flip(data: bytes, _: Original, dice: random.Random) -> bytes:
    if not data:
        return data
    place = dice.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :]


def _overwrite(data: bytes, _: Original, dice: random.Random) -> bytes:
    place = dice.randrange(len(data) + 1)
    noise = dice.randbytes(dice.randrange(1, 40))
    return data[:place] + noise + data[place + len(noise) :]


def _insert(data: bytes, _: Original, dice: random.Random) -> bytes:
    place = dice.randrange(len(data) + 1)
    return data[:place] + _lure(dice) + data[place:]


def _cut_out(data: bytes, _: Original, dice: random.Random) -> bytes:
    start = dice.randrange(len(data) + 1)
    return data[:start] + data[start + dice.randrange(1, 80) :]


def _truncate(data: bytes, _: Original, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data) + 1)]


def _move_record(data: bytes, original: Original, dice: random.Random) -> bytes:
    """Drop, repeat or displace a whole record, wherever it now stands."""
    spans = list(pairwise(original.edges))
    start, stop = dice.choice(spans)
    record = original.data[start:stop]
    at = data.find(record)
    if at >= 0 and dice.random() < 0.6:
        data = data[:at] + data[at + len(record) :]
    if dice.random() < 0.7:
        place = dice.choice(original.edges)
        data = data[:place] + record + data[place:]
    return data


def _splice(data: bytes, original: Original, dice: random.Random) -> bytes:
    """Put in a record of a file with another header."""
    others = [other for other in ORIGINALS if other.channels != original.channels]
    other = dice.choice(others)
    start, stop = dice.choice(list(pairwise(other.edges)))
    place = dice.choice(original.edges)
    return data[:place] + other.data[start:stop] + data[place:]


def _lure(dice: random.Random) -> bytes:
    size = dice.randrange(1, 60)
    return dice.choice(
        (bytes(size), MARKER_PREFIX * size, MARKER_PREFIX + b"B", b"\xf5", dice.randbytes(size))
    )


def _put(data: bytes, record: bytes, original: Original, dice: random.Random) -> bytes:
    """Put a record in, or in the place of another."""
    start, stop = dice.choice(list(pairwise(original.edges)))
    return data[:start] + record + data[dice.choice((start, stop)) :]


def _number(dice: random.Random, most: int) -> int:
    return min(most, dice.choice((dice.choice(_EDGES), dice.randrange(20))))


def _forge_block(data: bytes, original: Original, dice: random.Random) -> bytes:
    context = original.context
    level = dice.randrange(4)
    block = BlockHeader(
        channel=dice.randrange(3),
        level=level,
        segment=_number(dice, 65_535),
        first_frame=_number(dice, 2**32 - 1),
        frame_count=_number(dice, 65_535),
    )
    size = packed_bytes(ODD_SPEC, min(block.frame_count, 1024), level)
    payload = dice.choice((bytes(size), dice.randbytes(size), b"\xff" * size))
    return _put(data, context.sealed(block_header_bytes(block, context) + payload), original, dice)


def _forge_empty_blocks(data: bytes, original: Original, dice: random.Random) -> bytes:
    context = original.context
    count, segment = dice.randrange(1, 40), _number(dice, 65_534)
    blocks = [
        context.sealed(
            block_header_bytes(BlockHeader(channel, 0, segment, 1024 * at, 1024), context)
        )
        for at in range(count)
        for channel in range(original.channels)
    ]
    return _put(data, b"".join(blocks), original, dice)


def _forge_segment(data: bytes, original: Original, dice: random.Random) -> bytes:
    context = original.context
    number, frame = _number(dice, 65_535), _number(dice, 2**32 - 1)
    if dice.random() < 0.5:
        record = segment_start_bytes(number, frame, _number(dice, 2**32 - 1), context)
    else:
        counts = (_number(dice, 2**40), _number(dice, 2**40))
        record = segment_end_bytes(number, Segment(0, frame, 0, *counts), context)
    return _put(data, record, original, dice)


def _forge_footer(data: bytes, original: Original, dice: random.Random) -> bytes:
    offset = dice.choice(original.edges[:-1])
    frames = _number(dice, 2**32 - 1)
    segments = list(original.segments)
    if dice.random() < 0.7:
        samples = max(0, frames * 480 - 240)
        segments = [Segment(0, frames, 0, samples, samples)]
    if dice.random() < 0.3:
        segments += [replace(segments[-1], first_frame=segments[-1].end_frame)] * 3
    entries = tuple(
        IndexEntry(_number(dice, frames), _number(dice, offset)) for _ in range(dice.randrange(3))
    )
    footer = Footer(tuple(segments), entries, frames, offset)
    return data[:offset] + footer_bytes(footer, original.context)


_Mutation = Callable[[bytes, Original, random.Random], bytes]
_BLIND: list[_Mutation] = [_flip, _overwrite, _insert, _cut_out, _truncate, _move_record, _splice]
_FORGED: list[_Mutation] = [_forge_block, _forge_empty_blocks, _forge_segment, _forge_footer]
