"""Damaged containers: the intact part comes out, the rest is reported, nothing is made up."""

import random
from io import BytesIO
from itertools import pairwise
from time import process_time

import numpy as np
import pytest
from container_cases import (
    ODD_SPEC,
    SPEC,
    PipeEnd,
    make_file,
    make_header,
    synthetic_codes,
    whole_sample_count,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from grove.codec.container.assembler import Block, Event, SegmentEnd, SegmentStart
from grove.codec.container.damage import MAX_DAMAGE_RECORDS, Damage, DamageReason
from grove.codec.container.file import ContainerFile, ContainerReader
from grove.codec.container.records import (
    MARKER_PREFIX,
    MAX_EMPTY_FRAMES,
    MAX_EMPTY_FRAMES_PER_BYTE,
    MAX_LOST_SEGMENTS,
    BlockHeader,
    FileContext,
    Footer,
    Segment,
    block_header_bytes,
    footer_bytes,
    segment_end_bytes,
    segment_start_bytes,
)
from grove.codec.container.scan import (
    BlockRecord,
    ByteWindow,
    EndRecord,
    FooterRecord,
    Record,
    StartRecord,
    read_header,
    scan_records,
)
from grove.codec.container.writer import ContainerWriter
from grove.codec.errors import BitstreamError

LEVELS = np.array([3, 3, 3, 3, 2, 2, 2, 0, 0, 3, 3, 3, 1, 1, 3, 3])
CODES, LEVELS_OF_CHANNELS = synthetic_codes(ODD_SPEC, 2, 16, np.stack([LEVELS, LEVELS[::-1]]))


def two_segments(channels: int) -> bytes:
    """Return a small file with everything in it: 16 frames, the second segment from frame 9 on."""
    out = BytesIO()
    header = make_header(ODD_SPEC, channels)  # type: ignore[arg-type]
    writer = ContainerWriter(out, header, block_frames=3)
    writer.write(CODES[:channels, :9], LEVELS_OF_CHANNELS[:channels, :9])
    writer.end_segment(4000)
    writer.begin_segment(skip_samples=700)
    writer.write(CODES[:channels, 9:], LEVELS_OF_CHANNELS[:channels, 9:])
    writer.close(2000)
    return out.getvalue()


MONO, STEREO = two_segments(1), two_segments(2)
SEGMENTS = (Segment(0, 9, 0, 4000, 4000), Segment(9, 16, 700, 2000, 2000))


def records_of(data: bytes) -> list[Record]:
    window = ByteWindow(BytesIO(data))
    context = read_header(window)
    return list(scan_records(window, context))


def context_of(data: bytes) -> FileContext:
    return read_header(ByteWindow(BytesIO(data)))


def first_of(data: bytes, kind: type, number: int = 0) -> tuple[int, int]:
    """Return the bytes that a record of a kind takes: from, to."""
    records = records_of(data)
    places = [record.offset for record in records] + [len(data)]
    spans = [
        span
        for span, record in zip(pairwise(places), records, strict=True)
        if isinstance(record, kind)
    ]
    return spans[number]


def concealed(damage: tuple[Damage, ...], channels: int, frame_count: int) -> np.ndarray:
    """Return [C, T]: which frames the report says are lost."""
    lost = np.zeros((channels, frame_count), bool)
    for item in damage:
        rows = slice(None) if item.channel is None else item.channel
        lost[rows, item.first_frame : item.first_frame + item.frame_count] = True
    return lost


def check_survivors(events: list[Event], damage: tuple[Damage, ...], channels: int) -> int:
    """Every frame is the original's, or reported and of level 0. Returns how many frames came."""
    next_frame, open_segment = 0, None
    for event in events:
        match event:
            case SegmentStart():
                assert open_segment is None
                assert event.first_frame == next_frame
                open_segment = event.number
            case Block():
                assert (event.segment, event.first_frame) == (open_segment, next_frame)
                check_block(event, damage, channels)
                next_frame = event.end_frame
            case SegmentEnd():
                assert (event.number, event.segment.end_frame) == (open_segment, next_frame)
                assert not event.exact or event.segment == SEGMENTS[event.number] or damage
                open_segment = None
    assert open_segment is None
    return next_frame


def check_block(block: Block, damage: tuple[Damage, ...], channels: int) -> None:
    span = slice(block.first_frame, block.end_frame)
    lost = concealed(damage, channels, 16)[:, span]
    codes, levels = CODES[:channels, span], LEVELS_OF_CHANNELS[:channels, span]
    assert np.array_equal(block.levels, np.where(lost, 0, levels))
    assert np.array_equal(block.codes, np.where(lost[..., None], 0, codes))


def read_both_ways(data: bytes, channels: int) -> tuple[Damage, ...]:
    """Read from a pipe and from a file; check both; return the pipe's report."""
    reader = ContainerReader(PipeEnd(data, 64))
    events = list(reader.events())
    count = check_survivors(events, reader.damage, channels)
    file = ContainerFile(BytesIO(data))
    check_survivors(list(file.events()), file.damage, channels)
    file.frames(0, min(file.frame_count, count))
    assert bool(file.damage) == bool(reader.damage)
    return reader.damage


def test_an_intact_file_reports_nothing() -> None:
    assert read_both_ways(MONO, 1) == ()
    assert read_both_ways(STEREO, 2) == ()


@pytest.mark.parametrize(("data", "channels"), [(MONO, 1), (STEREO, 2)])
def test_every_flipped_bit_is_reported_and_every_other_frame_survives(
    data: bytes, channels: int
) -> None:
    first_record = records_of(data)[0].offset
    for place in range(len(data)):
        # Each bit of what follows the header; of the header, which is refused whole, one a byte.
        for bit in range(8) if place >= first_record else (place % 8,):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            try:
                assert read_both_ways(bytes(flipped), channels)
            except BitstreamError:
                assert place < first_record


@pytest.mark.parametrize(("data", "channels"), [(MONO, 1), (STEREO, 2)])
def test_a_file_cut_anywhere_gives_its_whole_blocks(data: bytes, channels: int) -> None:
    records = records_of(data)
    for size in range(len(data)):
        if size < records[0].offset:
            with pytest.raises(BitstreamError):
                ContainerReader(BytesIO(data[:size]))
            continue
        damage = read_both_ways(data[:size], channels)
        assert damage
        whole = [
            record.header.first_frame + record.header.frame_count
            for record in records
            if isinstance(record, BlockRecord) and record.offset + record.byte_count <= size
        ]
        blocks = list(ContainerReader(BytesIO(data[:size])).blocks())
        assert (blocks[-1].end_frame if blocks else 0) == max(whole, default=0)


@settings(max_examples=150, deadline=None)
@given(
    data=st.sampled_from([(MONO, 1), (STEREO, 2)]),
    edits=st.lists(
        st.tuples(st.integers(0, 2000), st.integers(0, 60), st.binary(max_size=60)),
        min_size=1,
        max_size=4,
    ),
)
def test_bytes_removed_replaced_or_put_in_anywhere_give_the_intact_part(
    data: tuple[bytes, int], edits: list[tuple[int, int, bytes]]
) -> None:
    changed, channels = data
    first_record = records_of(changed)[0].offset
    for place, removed, inserted in edits:
        start = first_record + place % (len(changed) - first_record + 1)
        changed = changed[:start] + inserted + changed[start + removed :]
    damage = read_both_ways(changed, channels)
    assert damage or changed == data[0]


@settings(max_examples=150, deadline=None)
@given(tail=st.binary(max_size=300))
@example(tail=MARKER_PREFIX * 50)
@example(tail=MONO)
def test_any_bytes_behind_a_header_are_reported(tail: bytes) -> None:
    assert read_both_ways(MONO[: records_of(MONO)[0].offset] + tail, 1)


@given(data=st.binary(max_size=300))
@example(data=b"\x89GRV\r\n\x1a\n\0\1\0\0\0\0\0\2{}")
def test_any_bytes_without_a_header_are_refused(data: bytes) -> None:
    with pytest.raises(BitstreamError):
        ContainerReader(BytesIO(data))
    with pytest.raises(BitstreamError):
        ContainerFile(BytesIO(data))


def test_a_damaged_block_is_concealed_and_named() -> None:
    start, _ = first_of(MONO, BlockRecord, 1)
    data = bytearray(MONO)
    data[start + 16] ^= 0x40
    (damage,) = read_both_ways(bytes(data), 1)
    assert (damage.reason, damage.first_frame, damage.frame_count) == (DamageReason.CHECKSUM, 3, 1)
    assert str(damage) == (
        f"checksum: the block at byte {start} is damaged (frames 3..3 concealed, channel 0)"
    )


def test_damage_in_one_channel_leaves_the_other() -> None:
    start, end = first_of(STEREO, BlockRecord, 1)
    damage = read_both_ways(STEREO[:start] + bytes(end - start) + STEREO[end:], 2)
    assert {item.reason for item in damage} == {DamageReason.GARBAGE, DamageReason.MISSING}
    assert {item.channel for item in damage if item.frame_count} == {1}


def test_the_last_block_lost_is_made_up_for_by_the_segment_end() -> None:
    blocks = sum(isinstance(record, BlockRecord) for record in records_of(MONO))
    start, end = first_of(MONO, BlockRecord, blocks - 1)
    reader = ContainerReader(BytesIO(MONO[:start] + MONO[end:]))
    events = list(reader.events())
    assert check_survivors(events, reader.damage, 1) == 16
    assert events[-1] == SegmentEnd(1, SEGMENTS[1], exact=True)


@pytest.mark.parametrize("kind", [StartRecord, EndRecord])
def test_a_lost_segment_record_is_taken_from_the_index_of_a_seekable_file(kind: type) -> None:
    for number in (0, 1):
        start, end = first_of(MONO, kind, number)
        data = MONO[:start] + bytes(end - start) + MONO[end:]
        damage = read_both_ways(data, 1)
        assert DamageReason.SEGMENT in {item.reason for item in damage}
        ends = [e for e in ContainerFile(BytesIO(data)).events() if isinstance(e, SegmentEnd)]
        assert [end.segment for end in ends] == list(SEGMENTS)


def test_a_lost_segment_start_leaves_a_pipe_without_its_counts() -> None:
    start, end = first_of(MONO, StartRecord, 1)
    reader = ContainerReader(BytesIO(MONO[:start] + MONO[end:]))
    # The samples to skip are not known, so all that the frames hold is given, and not as exact.
    available = 7 * 480 - 240
    lost = SegmentEnd(1, Segment(9, 16, 0, available, available), exact=False)
    assert list(reader.events())[-1] == lost
    assert DamageReason.SEGMENT in {item.reason for item in reader.damage}


def test_a_damaged_index_is_replaced_by_reading_through() -> None:
    start, _ = first_of(MONO, FooterRecord)
    for place in (start + 5, start + 30, len(MONO) - 1, len(MONO) - 10):
        data = bytearray(MONO)
        data[place] ^= 1
        file = ContainerFile(BytesIO(bytes(data)))
        assert file.segments == SEGMENTS
        np.testing.assert_array_equal(file.frames(10, 14)[0], CODES[:1, 10:14])
        assert DamageReason.INDEX in {item.reason for item in file.damage}


def test_the_footer_makes_up_for_the_last_segment_end_in_a_pipe() -> None:
    start, end = first_of(MONO, EndRecord, 1)
    reader = ContainerReader(BytesIO(MONO[:start] + bytes(end - start) + MONO[end:]))
    assert list(reader.events())[-1] == SegmentEnd(1, SEGMENTS[1], exact=True)
    assert DamageReason.SEGMENT in {item.reason for item in reader.damage}


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 5, 64])
@pytest.mark.parametrize("garbage", [b"x", b"\xf5", b"\xf5G", MARKER_PREFIX, bytes(61)])
def test_every_frame_behind_garbage_is_found(garbage: bytes, chunk_bytes: int) -> None:
    start, _ = first_of(MONO, BlockRecord, 1)
    reader = ContainerReader(PipeEnd(MONO[:start] + garbage + MONO[start:], chunk_bytes))
    assert check_survivors(list(reader.events()), reader.damage, 1) == 16
    assert not concealed(reader.damage, 1, 16).any()


def test_bytes_behind_the_end_are_reported_and_not_read() -> None:
    for tail in (b"x", bytes(100_000), MONO):
        reader = ContainerReader(BytesIO(MONO + tail))
        assert check_survivors(list(reader.events()), reader.damage, 1) == 16
        assert [item.reason for item in reader.damage] == [DamageReason.TRAILING]
        file = ContainerFile(BytesIO(MONO + tail))
        assert file.segments == SEGMENTS
        assert DamageReason.TRAILING in {item.reason for item in file.damage}


def test_an_unfinished_file_plays_all_its_frames() -> None:
    end, _ = first_of(MONO, EndRecord, 1)
    file = ContainerFile(BytesIO(MONO[:end]))
    assert DamageReason.UNFINISHED in {item.reason for item in file.damage}
    available = 7 * 480 - 240 - 700
    assert file.segments == (SEGMENTS[0], Segment(9, 16, 700, available, available))


def test_blocks_repeated_or_in_another_order_are_not_played_twice() -> None:
    start, end = first_of(MONO, BlockRecord, 0)
    next_start, next_end = first_of(MONO, BlockRecord, 1)
    first, second = MONO[start:end], MONO[next_start:next_end]
    for middle in (first + first + second, second + first):
        damage = read_both_ways(MONO[:start] + middle + MONO[next_end:], 1)
        assert DamageReason.ORDER in {item.reason for item in damage}


def test_a_block_of_another_file_is_no_block() -> None:
    other = make_file(
        make_header(ODD_SPEC).model_copy(update={"tags": {}}), CODES[:1], LEVELS[None]
    )
    start, end = first_of(MONO, BlockRecord, 0)
    other_start, other_end = first_of(other, BlockRecord, 0)
    damage = read_both_ways(MONO[:start] + other[other_start:other_end] + MONO[end:], 1)
    lost = [(item.first_frame, item.frame_count) for item in damage if item.frame_count]
    assert lost == [(0, 3)]


def test_impossible_codes_behind_a_right_checksum_are_damage() -> None:
    start, end = first_of(MONO, BlockRecord, 0)
    payload = b"\xff" * (end - start - 20)
    forged = context_of(MONO).sealed(MONO[start : start + 16] + payload)
    (damage,) = read_both_ways(MONO[:start] + forged + MONO[end:], 1)
    assert damage.reason == DamageReason.CODES


def forged_block(context: FileContext, first_frame: int, segment: int = 0) -> bytes:
    return context.sealed(
        block_header_bytes(BlockHeader(0, 0, segment, first_frame, 1024), context)
    )


def most_empty_frames(data: bytes) -> int:
    return MAX_EMPTY_FRAMES + MAX_EMPTY_FRAMES_PER_BYTE * len(data)


def test_a_few_bytes_cannot_claim_days_of_missing_audio() -> None:
    context = context_of(MONO)
    head = MONO[: records_of(MONO)[0].offset]
    far = [forged_block(context, number * 60_000) for number in range(2000)]
    end = segment_end_bytes(0, Segment(0, 2**32 - 1, 0, 2**50, 2**50), context)
    data = head + b"".join(far) + end
    reader = ContainerReader(BytesIO(data))
    frames = sum(block.end_frame - block.first_frame for block in reader.blocks())
    assert 0 < frames <= most_empty_frames(data)
    assert DamageReason.ORDER in {item.reason for item in reader.damage}
    with pytest.raises(BitstreamError, match="not within"):
        ContainerFile(BytesIO(data)).frames(0, 2**32 - 1)


@pytest.mark.parametrize("channels", [1, 2])
def test_blocks_without_a_code_last_no_longer_than_their_bytes_allow(channels: int) -> None:
    whole = MONO if channels == 1 else STEREO
    context = context_of(whole)
    head = whole[: records_of(whole)[0].offset]
    blocks = [
        context.sealed(block_header_bytes(BlockHeader(channel, 0, 0, 1024 * at, 1024), context))
        for at in range(100)
        for channel in range(channels)
    ]
    data = head + b"".join(blocks)
    reader = ContainerReader(BytesIO(data))
    frames = sum(block.end_frame - block.first_frame for block in reader.blocks())
    assert 1024 <= frames <= most_empty_frames(data) // channels
    assert DamageReason.ORDER in {item.reason for item in reader.damage}


def test_one_block_cannot_claim_thousands_of_segments() -> None:
    context = context_of(MONO)
    head = MONO[: records_of(MONO)[0].offset]
    for record in (
        forged_block(context, 0, segment=65_534),
        segment_start_bytes(65_534, 0, 0, context),
        segment_end_bytes(65_534, Segment(0, 0, 0, 0, 0), context),
    ):
        reader = ContainerReader(BytesIO(head + record))
        starts = [event for event in reader.events() if isinstance(event, SegmentStart)]
        assert len(starts) <= MAX_LOST_SEGMENTS + len(head) // 48
        assert DamageReason.ORDER in {item.reason for item in reader.damage}


def test_a_footer_cannot_claim_more_frames_than_its_file_has_bytes_for() -> None:
    context = context_of(MONO)
    head = MONO[: records_of(MONO)[0].offset]
    count = 180_000
    samples = whole_sample_count(ODD_SPEC, count)
    segment = Segment(0, count, 0, samples, samples)
    footer = Footer((segment,), (), count, len(head))
    file = ContainerFile(BytesIO(head + footer_bytes(footer, context)))
    assert file.frame_count == 0
    assert DamageReason.INDEX in {item.reason for item in file.damage}


@pytest.mark.parametrize("block_frames", [100, 1024])
def test_hours_of_level_0_that_a_writer_wrote_are_read_whole(block_frames: int) -> None:
    codes, levels = synthetic_codes(SPEC, 2, 400_000, 0)
    data = make_file(make_header(channels=2), codes, levels, block_frames)
    reader = ContainerReader(BytesIO(data))
    assert sum(block.end_frame - block.first_frame for block in reader.blocks()) == 400_000
    assert reader.damage == ()
    assert ContainerFile(BytesIO(data)).frame_count == 400_000


def test_a_middle_that_was_cut_out_leaves_what_follows_it_in_its_place() -> None:
    codes, levels = synthetic_codes(SPEC, 1, 200_000, 1)
    data = make_file(make_header(), codes, levels, block_frames=1000)
    start, _ = first_of(data, BlockRecord, 10)
    _, end = first_of(data, BlockRecord, 190)
    reader = ContainerReader(BytesIO(data[:start] + data[end:]))
    assert list(reader.blocks())[-1].end_frame == 200_000
    lost = [(item.first_frame, item.frame_count) for item in reader.damage if item.frame_count]
    assert lost == [(10_000, 181_000)]


def test_bytes_made_to_mislead_take_time_in_proportion() -> None:
    context = context_of(MONO)
    head = MONO[: records_of(MONO)[0].offset]
    # Block headers that are intact and claim the longest payload, one after the other.
    header = BlockHeader(0, 3, 0, 0, 1024)
    lure = block_header_bytes(header, context)
    started = process_time()
    for body in (lure * 20_000, MARKER_PREFIX * 100_000, b"\xf5GvF" * 80_000, bytes(3_000_000)):
        reader = ContainerReader(BytesIO(head + body))
        assert sum(1 for _ in reader.blocks()) <= 400
        assert reader.damage
    assert process_time() - started < 5


def test_reports_are_bounded() -> None:
    context = context_of(MONO)
    head = MONO[: records_of(MONO)[0].offset]
    body = b"".join(forged_block(context, 0) for _ in range(3000))
    reader = ContainerReader(BytesIO(head + body))
    assert sum(1 for _ in reader.blocks()) == 1
    assert len(reader.damage) == MAX_DAMAGE_RECORDS
    assert reader.omitted_damage_count > 1900


def test_a_long_hole_is_filled_in_proportion_to_the_bytes_lost() -> None:
    codes, levels = synthetic_codes(SPEC, 1, 200_000, 1)
    data = make_file(make_header(), codes, levels, block_frames=1000)
    start, _ = first_of(data, BlockRecord, 10)
    _, end = first_of(data, BlockRecord, 190)
    holed = data[:start] + random.Random(1).randbytes(end - start) + data[end:]
    file = ContainerFile(BytesIO(holed))
    assert file.frames(199_000, 200_000)[0].tolist() == codes[:, 199_000:].tolist()
    reader = ContainerReader(BytesIO(holed))
    blocks = list(reader.blocks())
    assert blocks[-1].end_frame == 200_000
    assert whole_sample_count(SPEC, 200_000) == file.sample_count
    lost = [item for item in reader.damage if item.frame_count]
    assert [(item.first_frame, item.frame_count) for item in lost] == [(10_000, 181_000)]
