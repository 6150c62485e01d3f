"""Writing and reading containers whose bytes are as written."""

import tracemalloc
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from container_cases import (
    ODD_SPEC,
    SPEC,
    PipeEnd,
    joined,
    make_file,
    make_header,
    synthetic_codes,
    whole_sample_count,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from grove.codec.bundle import RETIRED
from grove.codec.container.assembler import Block, SegmentEnd, SegmentStart
from grove.codec.container.file import MAX_FRAMES_PER_READ, ContainerFile, ContainerReader
from grove.codec.container.header import ContainerHeader
from grove.codec.container.records import Segment
from grove.codec.container.writer import ContainerWriter, Index
from grove.codec.errors import BitstreamError, ModelMismatchError, StreamError

GOLDEN = Path(__file__).parent.parent / "golden"


def golden_mono() -> bytes:
    """Two segments, three levels, a lost frame."""
    levels = np.array([6, 6, 6, 6, 6, 0, 2, 2, 2, 1])
    codes, levels = synthetic_codes(SPEC, 1, 10, levels)
    out = BytesIO()
    writer = ContainerWriter(out, make_header(), block_frames=4)
    writer.write(codes[:, :7], levels[:, :7])
    writer.end_segment(2500)
    writer.begin_segment(skip_samples=300)
    writer.write(codes[:, 7:], levels[:, 7:])
    writer.close(777)
    return out.getvalue()


def golden_stereo() -> bytes:
    """Two channels at different levels, books of odd sizes, a resampled source."""
    levels = np.array([[3, 3, 3, 3, 2, 2], [1, 1, 3, 3, 3, 0]])
    header = make_header(ODD_SPEC, channels=2, source_rate_hz=44_100)
    return make_file(header, *synthetic_codes(ODD_SPEC, 2, 6, levels))


@pytest.mark.parametrize(
    ("name", "made"), [("mono-v1.grv", golden_mono()), ("stereo-v1.grv", golden_stereo())]
)
def test_bytes_of_version_1_never_change(name: str, made: bytes) -> None:
    assert made == (GOLDEN / name).read_bytes()


def test_golden_files_of_version_1_read_as_what_was_written() -> None:
    with (GOLDEN / "mono-v1.grv").open("rb") as file:
        mono = ContainerFile(file)
        codes, levels = mono.frames(0, 10)
        assert mono.verify() == ()
        assert mono.header == make_header()
        assert mono.segments == (Segment(0, 7, 0, 2500, 2500), Segment(7, 10, 300, 777, 777))
    expected = synthetic_codes(SPEC, 1, 10, np.array([6, 6, 6, 6, 6, 0, 2, 2, 2, 1]))
    np.testing.assert_array_equal(codes, expected[0])
    np.testing.assert_array_equal(levels, expected[1])
    with (GOLDEN / "stereo-v1.grv").open("rb") as file:
        stereo = ContainerFile(file)
        codes, levels = stereo.frames(0, 6)
        assert stereo.verify() == ()
        assert (stereo.sample_count, stereo.source_sample_count) == (2640, 4851)
    expected = synthetic_codes(ODD_SPEC, 2, 6, np.array([[3, 3, 3, 3, 2, 2], [1, 1, 3, 3, 3, 0]]))
    np.testing.assert_array_equal(codes, expected[0])
    np.testing.assert_array_equal(levels, expected[1])


@settings(max_examples=60, deadline=None)
@given(
    channels=st.sampled_from([1, 2]),
    levels=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30),
    block_frames=st.integers(1, 9),
    cuts=st.lists(st.integers(0, 30), max_size=5),
    data=st.data(),
)
def test_frames_come_back_whatever_the_chunks_blocks_and_levels(
    channels: int,
    levels: list[tuple[int, int]],
    block_frames: int,
    cuts: list[int],
    data: st.DataObject,
) -> None:
    header = make_header(ODD_SPEC, channels)
    shown = np.array(levels, np.int64).reshape(-1, 2).T[:channels]
    codes, shown = synthetic_codes(ODD_SPEC, channels, len(levels), shown)
    made = make_file(header, codes, shown, block_frames)

    out = BytesIO()
    writer = ContainerWriter(out, header, block_frames)
    edges = sorted({0, len(levels), *(cut for cut in cuts if cut < len(levels))})
    for start, stop in pairwise(edges):
        writer.write(codes[:, start:stop], shown[:, start:stop])
    writer.close(whole_sample_count(ODD_SPEC, len(levels)))
    assert out.getvalue() == made

    reader = ContainerReader(PipeEnd(made, chunk_bytes=data.draw(st.integers(1, 50))))
    events = list(reader.events())
    assert reader.damage == ()
    blocks = [event for event in events if isinstance(event, Block)]
    end = events[-1]
    assert events[0] == SegmentStart(0, 0, 0)
    assert isinstance(end, SegmentEnd)
    assert end.exact
    assert [block.first_frame for block in blocks] == [0, *(b.end_frame for b in blocks[:-1])][
        : len(blocks)
    ]
    file = ContainerFile(BytesIO(made))
    assert file.frame_count == len(levels)
    assert file.segments == (end.segment,)
    whole = file.frames(0, len(levels))
    np.testing.assert_array_equal(whole[0], codes)
    np.testing.assert_array_equal(whole[1], shown)
    if blocks:
        np.testing.assert_array_equal(joined(blocks)[0], codes)
        np.testing.assert_array_equal(joined(blocks)[1], shown)
    start = data.draw(st.integers(0, len(levels)))
    stop = data.draw(st.integers(start, len(levels)))
    np.testing.assert_array_equal(file.frames(start, stop)[0], codes[:, start:stop])
    assert file.verify() == ()


def test_a_file_without_a_frame_has_no_samples() -> None:
    out = BytesIO()
    ContainerWriter(out, make_header()).close(0)
    file = ContainerFile(BytesIO(out.getvalue()))
    assert (file.frame_count, file.sample_count, file.verify()) == (0, 0, ())
    assert file.frames(0, 0)[0].shape == (1, 0, 12)


def test_a_file_without_a_segment_is_whole() -> None:
    out = BytesIO()
    ContainerWriter(out, make_header()).finish()
    file = ContainerFile(BytesIO(out.getvalue()))
    assert (file.frame_count, file.segments, file.verify()) == (0, (), ())
    assert list(ContainerReader(BytesIO(out.getvalue())).events()) == []


class OpenPipe:
    """A pipe that its writer keeps open: reading more than it holds would wait for ever."""

    def __init__(self, data: bytes) -> None:
        self._held = data

    def read(self, size: int, /) -> bytes:
        raise AssertionError(f"waits until there are {size} bytes")

    def read1(self, size: int, /) -> bytes:
        assert self._held, "waits though the frames are there"
        data, self._held = self._held[:size], self._held[size:]
        return data


def test_a_live_reader_gets_flushed_frames_before_the_pipe_closes() -> None:
    codes, levels = synthetic_codes(SPEC, 1, 3, 6)
    out = BytesIO()
    writer = ContainerWriter(out, make_header())
    writer.write(codes, levels)
    writer.flush()
    block = next(ContainerReader(OpenPipe(out.getvalue())).blocks())
    np.testing.assert_array_equal(block.codes, codes)


def test_an_output_that_takes_few_bytes_at_a_time_gets_them_all() -> None:
    class Trickle(BytesIO):
        def write(self, data: bytes, /) -> int:  # type: ignore[override]
            return super().write(data[:7])

    codes, levels = synthetic_codes(SPEC, 1, 9, 6)
    out = Trickle()
    writer = ContainerWriter(out, make_header(), block_frames=4)
    writer.write(codes, levels)
    writer.close(whole_sample_count(SPEC, 9))
    assert out.getvalue() == make_file(make_header(), codes, levels)


def test_the_writer_keeps_no_reference_to_its_callers_buffer() -> None:
    codes, levels = synthetic_codes(SPEC, 1, 2, 6)
    buffer = codes.copy()
    out = BytesIO()
    writer = ContainerWriter(out, make_header())
    writer.write(buffer, levels)
    buffer[:] = 0
    writer.close(whole_sample_count(SPEC, 2))
    np.testing.assert_array_equal(ContainerFile(BytesIO(out.getvalue())).frames(0, 2)[0], codes)


def test_two_hours_are_written_and_read_in_constant_memory(tmp_path: Path) -> None:
    frame_count, chunk = 2 * 3600 * 50, 1000
    codes, levels = synthetic_codes(SPEC, 1, chunk, 6)
    path = tmp_path / "two-hours.grv"
    tracemalloc.start()
    try:
        with path.open("wb") as out:
            writer = ContainerWriter(out, make_header(), block_frames=500)
            for _ in range(frame_count // chunk):
                writer.write(codes, levels)
            writer.close(whole_sample_count(SPEC, frame_count))
        with path.open("rb") as source:
            read = sum(
                block.end_frame - block.first_frame for block in ContainerReader(source).blocks()
            )
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert read == frame_count
    assert path.stat().st_size > 5_400_000
    assert peak_bytes < 1_500_000


class CountingFile(BytesIO):
    """Counts the bytes read from it."""

    read_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.read_bytes += len(data)
        return data


def test_seeking_reads_a_small_part_of_the_file() -> None:
    codes, levels = synthetic_codes(SPEC, 1, 60_000, 6)
    source = CountingFile(make_file(make_header(), codes, levels, block_frames=100))
    file = ContainerFile(source)
    np.testing.assert_array_equal(file.frames(54_321, 54_400)[0], codes[:, 54_321:54_400])
    assert source.read_bytes < 200_000 < len(source.getvalue()) / 4


def test_ranges_read_in_turns_do_not_disturb_each_other() -> None:
    codes, levels = synthetic_codes(SPEC, 1, 3000, 6)
    file = ContainerFile(BytesIO(make_file(make_header(), codes, levels)))
    for low, high in zip(file.blocks(0, 1000), file.blocks(2000, 3000), strict=True):
        np.testing.assert_array_equal(low.codes, codes[:, low.first_frame : low.end_frame])
        np.testing.assert_array_equal(high.codes, codes[:, high.first_frame : high.end_frame])


def test_the_index_stays_bounded_and_still_covers_the_file() -> None:
    index = Index(max_entries=8)
    for first_frame in range(0, 1_000_000, 100):
        index.add(first_frame, 10 * first_frame + 7)
    frames = [entry.first_frame for entry in index.entries]
    assert len(frames) <= 8
    assert frames[0] == 0
    assert max(np.diff([*frames, 1_000_000])) <= 1_000_000 / 3
    assert all(entry.offset == 10 * entry.first_frame + 7 for entry in index.entries)


def test_frames_beyond_the_file_are_refused() -> None:
    file = ContainerFile(BytesIO(golden_mono()))
    for first_frame, end_frame in ((0, 11), (-1, 3), (5, 4)):
        with pytest.raises(BitstreamError, match=r"not within 0\.\.10"):
            file.frames(first_frame, end_frame)


def test_too_many_frames_at_once_are_refused() -> None:
    out = BytesIO()
    writer = ContainerWriter(out, make_header(), block_frames=1024)
    frame_count = MAX_FRAMES_PER_READ + 1
    writer.write(np.zeros((frame_count, 12), np.uint16), 0)
    writer.close(whole_sample_count(SPEC, frame_count))
    with pytest.raises(BitstreamError, match="at once"):
        ContainerFile(BytesIO(out.getvalue())).frames(0, frame_count)


def test_a_source_that_cannot_seek_is_refused_with_a_hint() -> None:
    class Unseekable(BytesIO):
        def seekable(self) -> bool:
            return False

    with pytest.raises(BitstreamError, match="cannot seek") as caught:
        ContainerFile(Unseekable(golden_mono()))
    assert caught.value.hint


def test_a_file_of_another_model_is_refused_unless_listed() -> None:
    header = make_header()
    header.check_model(SPEC)
    other = SPEC.model_copy(update={"model_sha256": "f" * 64})
    with pytest.raises(ModelMismatchError, match="model 0123456789ab"):
        header.check_model(other)
    header.check_model(other, accepted_sha256={SPEC.model_sha256})
    shorter = SPEC.model_copy(update={"hop_samples": 240})
    with pytest.raises(ModelMismatchError, match="hop 480"):
        header.check_model(shorter)


@pytest.mark.parametrize("retired", RETIRED)
def test_a_file_of_a_retired_model_says_which_release_has_it(retired: str) -> None:
    header = make_header(SPEC.model_copy(update={"model_sha256": retired}))
    with pytest.raises(ModelMismatchError, match=f"model {retired[:12]}") as caught:
        header.check_model(SPEC)
    assert f"came with {RETIRED[retired]}" in str(caught.value.hint)


def make_writer(header: ContainerHeader | None = None) -> ContainerWriter:
    return ContainerWriter(BytesIO(), header or make_header())


@pytest.mark.parametrize(
    ("codes", "levels", "message"),
    [
        (np.zeros((3, 11), np.uint16), 6, "shape"),
        (np.zeros((2, 3, 12), np.uint16), 6, "shape"),
        (np.zeros((3, 12), np.float32), 6, "integers"),
        (np.full((3, 12), 70_000), 6, "70000"),
        (np.full((3, 12), -1), 6, "-1"),
        (np.zeros((3, 12), np.uint16), 7, "levels"),
        (np.zeros((3, 12), np.uint16), [1, 2], "levels"),
        (np.zeros((3, 12), np.uint16), 1.0, "levels"),
    ],
)
def test_frames_that_do_not_fit_the_header_are_refused(
    codes: np.ndarray, levels: object, message: str
) -> None:
    with pytest.raises(BitstreamError, match=message):
        make_writer().write(codes, levels)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("samples", "source_samples", "message"),
    [
        (4561, None, "hold 4560 samples"),
        (4560 - 4 * 480 - 1, None, "left over"),
        (4560, 4565, "do not last as long"),
    ],
)
def test_counts_that_a_reader_would_refuse_are_not_written(
    samples: int, source_samples: int | None, message: str
) -> None:
    writer = make_writer()
    writer.write(np.zeros((10, 12), np.uint16), 6)
    with pytest.raises(BitstreamError, match=message):
        writer.close(samples, source_samples)


def test_a_resampled_source_must_state_its_own_count() -> None:
    writer = make_writer(make_header(source_rate_hz=48_000))
    with pytest.raises(BitstreamError, match="state source_sample_count"):
        writer.close(0)


def test_calls_out_of_order_are_refused() -> None:
    writer = make_writer()
    writer.begin_segment()
    with pytest.raises(StreamError, match="open already"):
        writer.begin_segment()
    with pytest.raises(StreamError, match="end it before"):
        writer.finish()
    writer.close(0)
    for call in (writer.finish, writer.begin_segment, lambda: writer.close(0)):
        with pytest.raises(StreamError, match="closed"):
            call()


@pytest.mark.parametrize("block_frames", [0, 1025])
def test_a_block_size_outside_the_limits_is_refused(block_frames: int) -> None:
    with pytest.raises(BitstreamError, match="1 to 1024"):
        ContainerWriter(BytesIO(), make_header(), block_frames)
