"""Joining, cutting and lowering containers, heard through a stand-in decoder that remembers."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from container_cases import (
    ODD_SPEC,
    SPEC,
    make_file,
    make_header,
    synthetic_codes,
    whole_sample_count,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from grove.codec.config import CodecSpec
from grove.codec.container.assembler import Block, SegmentEnd, SegmentStart
from grove.codec.container.damage import Damage, DamageReason
from grove.codec.container.edit import (
    DEFAULT_PREROLL_FRAMES,
    Joiner,
    NamedHeader,
    joint_header,
    lower_levels,
    trim,
)
from grove.codec.container.file import ContainerFile
from grove.codec.container.header import ContainerHeader
from grove.codec.container.records import MAX_TAIL_FRAMES
from grove.codec.container.writer import ContainerWriter
from grove.codec.errors import BitstreamError, ModelMismatchError
from grove.codec.stream import SampleDrain, Tail

MEMORY_FRAMES = 3


class StandInDecoder:
    """Makes samples that tell which frames they come from; every sample differs."""

    def __init__(self, spec: CodecSpec) -> None:
        self._spec = spec
        self._past = np.zeros(MEMORY_FRAMES)

    def decode(self, block: Block) -> np.ndarray:
        """Return [1, T * hop] for the first channel; a frame depends on those just before."""
        weights = 1 + np.arange(block.codes.shape[2])
        marks = np.concatenate([self._past, block.codes[0] @ weights + block.levels[0] / 8])
        count = len(block.levels[0])
        heard = sum(marks[k : k + count] * 3**k for k in range(MEMORY_FRAMES + 1))
        self._past = marks[-MEMORY_FRAMES:]
        ramp = np.arange(self._spec.hop_samples) / self._spec.hop_samples
        return (heard[:, None] + ramp).reshape(1, -1)


def audio_of(data: bytes) -> np.ndarray:
    """Return what a file sounds like, [N]."""
    file = ContainerFile(BytesIO(data))
    spec, parts = file.header.codec, [np.zeros((0, 1))]
    tail = Tail(MAX_TAIL_FRAMES * spec.hop_samples)
    for event in file.events():
        match event:
            case SegmentStart():
                decoder = StandInDecoder(spec)
                drain = SampleDrain(spec, skip_samples=event.skip_samples, end=tail)
            case Block():
                parts.append(drain.push(decoder.decode(event)))
            case SegmentEnd():
                assert event.exact
                drain.end_at(event.segment.sample_count)
                parts.append(drain.finish())
    assert file.verify() == ()
    audio = np.concatenate(parts)[:, 0]
    assert len(audio) == file.sample_count
    return audio


def recording(header: ContainerHeader, counts: list[int]) -> bytes:
    """Return a file with one segment per sample count, framed as an encoder does it."""
    spec, out = header.codec, BytesIO()
    writer = ContainerWriter(out, header, block_frames=5)
    for number, count in enumerate(counts):
        writer.begin_segment()
        frame_count = -(-count // spec.hop_samples) + 1
        levels = (np.arange(frame_count) + number) // 4 % (spec.levels + 1)
        writer.write(*synthetic_codes(spec, header.channels, frame_count, levels))
        source_hz, codec_hz = header.source_sample_rate_hz, spec.sample_rate_hz
        writer.end_segment(count, -(-count * source_hz // codec_hz))
    writer.finish()
    return out.getvalue()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("containers")


def saved(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


TWO = recording(make_header(source_rate_hz=44_100), [7_001, 4_799])
WHOLE_COUNT = 11_800


@contextmanager
def opened(path: Path) -> Iterator[ContainerFile]:
    with path.open("rb") as file:
        yield ContainerFile(file)


def concat(paths: list[Path], out: BytesIO) -> tuple[tuple[Damage, ...], ...]:
    """Join files, and return what was wrong with each."""
    headers = []
    for path in paths:
        with opened(path) as reader:
            headers.append(NamedHeader(path.name, reader.header))
    joiner, damage = Joiner(headers, out), []
    for path in paths:
        with opened(path) as reader:
            joiner.append(reader)
            damage.append(reader.damage)
    joiner.finish()
    return tuple(damage)


def join_alone(reader: ContainerFile, out: BytesIO) -> None:
    joiner = Joiner([NamedHeader("alone", reader.header)], out)
    joiner.append(reader)
    joiner.finish()


def trimmed(path: Path, first_sample: int, end_sample: int, preroll_frames: int) -> bytes:
    out = BytesIO()
    with opened(path) as reader:
        trim(reader, out, first_sample, end_sample, preroll_frames=preroll_frames)
        assert reader.damage == ()
    return out.getvalue()


@settings(deadline=None, max_examples=60)
@given(
    bounds=st.tuples(st.integers(0, WHOLE_COUNT), st.integers(0, WHOLE_COUNT)),
    preroll_frames=st.integers(MEMORY_FRAMES, 9),
)
def test_a_cut_with_enough_preroll_sounds_like_the_part(
    folder: Path, bounds: tuple[int, int], preroll_frames: int
) -> None:
    first, end = sorted(bounds)
    part = trimmed(saved(folder, "two.grv", TWO), first, end, preroll_frames)
    np.testing.assert_array_equal(audio_of(part), audio_of(TWO)[first:end])


def test_a_cut_without_preroll_sounds_right_once_the_decoder_remembers(folder: Path) -> None:
    part = audio_of(trimmed(saved(folder, "two.grv", TWO), 3000, 6000, 0))
    original = audio_of(TWO)[3000:6000]
    settled = (MEMORY_FRAMES + 1) * 480
    assert (part[:240] != original[:240]).any()
    np.testing.assert_array_equal(part[settled:], original[settled:])


@settings(deadline=None, max_examples=40)
@given(cuts=st.lists(st.integers(0, WHOLE_COUNT), min_size=1, max_size=4))
def test_parts_joined_sound_like_the_whole_and_their_counts_add_up(
    folder: Path, cuts: list[int]
) -> None:
    whole = saved(folder, "two.grv", TWO)
    edges = [0, *sorted(cuts), WHOLE_COUNT]
    parts = [
        saved(folder, f"part{k}.grv", trimmed(whole, edges[k], edges[k + 1], MEMORY_FRAMES))
        for k in range(len(edges) - 1)
    ]
    out = BytesIO()
    assert concat(parts, out) == ((),) * len(parts)
    np.testing.assert_array_equal(audio_of(out.getvalue()), audio_of(TWO))
    joint = ContainerFile(BytesIO(out.getvalue()))
    assert joint.source_sample_count == ContainerFile(BytesIO(TWO)).source_sample_count


def test_cutting_a_cut_again_and_again_stays_exact(folder: Path) -> None:
    audio, data = audio_of(TWO), TWO
    for round_number in range(40):
        path = saved(folder, "again.grv", data)
        data = trimmed(path, 101, len(audio) - 37, MEMORY_FRAMES)
        audio = audio[101 : len(audio) - 37]
        np.testing.assert_array_equal(audio_of(data), audio, err_msg=f"round {round_number}")


def test_a_cut_keeps_no_more_frames_than_it_needs(folder: Path) -> None:
    part = trimmed(saved(folder, "two.grv", TWO), 4800, 5280, 2)
    # Frame 10 with two before it, and frame 11 for the decoder's delay.
    assert ContainerFile(BytesIO(part)).frame_count == 4


@pytest.mark.parametrize("bounds", [(-1, 5), (5, 4), (0, WHOLE_COUNT + 1)])
def test_a_cut_outside_the_file_is_refused(folder: Path, bounds: tuple[int, int]) -> None:
    with (
        opened(saved(folder, "two.grv", TWO)) as reader,
        pytest.raises(BitstreamError, match=r"not within 0\.\.11800"),
    ):
        trim(reader, BytesIO(), *bounds)


def test_files_of_odd_lengths_join_without_a_sample_more_or_less(folder: Path) -> None:
    counts = [[1], [0], [4_801, 479], [9_600]]
    files = [recording(make_header(), count) for count in counts]
    paths = [saved(folder, f"odd{k}.grv", data) for k, data in enumerate(files)]
    out = BytesIO()
    concat(paths, out)
    expected = np.concatenate([audio_of(data) for data in files])
    np.testing.assert_array_equal(audio_of(out.getvalue()), expected)
    assert len(expected) == 1 + 4_801 + 479 + 9_600


def test_files_of_one_source_rate_keep_it_and_others_take_the_codecs(folder: Path) -> None:
    low = saved(folder, "low.grv", recording(make_header(source_rate_hz=16_000), [2_400]))
    high = saved(folder, "high.grv", recording(make_header(source_rate_hz=48_000), [4_800]))
    out = BytesIO()
    concat([high, high], out)
    same = ContainerFile(BytesIO(out.getvalue()))
    assert (same.header.source_sample_rate_hz, same.source_sample_count) == (48_000, 19_200)
    out = BytesIO()
    concat([low, high], out)
    mixed = ContainerFile(BytesIO(out.getvalue()))
    assert (mixed.header.source_sample_rate_hz, mixed.source_sample_count) == (24_000, 7_200)


def test_tags_on_which_files_differ_are_dropped(folder: Path) -> None:
    tags = [{"artist": "A", "title": "1"}, {"artist": "A", "title": "2"}]
    headers = [make_header().model_copy(update={"tags": tag}) for tag in tags]
    paths = [saved(folder, f"t{k}.grv", recording(h, [480])) for k, h in enumerate(headers)]
    out = BytesIO()
    concat(paths, out)
    assert ContainerFile(BytesIO(out.getvalue())).header.tags == {"artist": "A"}


@pytest.mark.parametrize(
    ("header", "error", "message"),
    [
        (
            make_header(SPEC.model_copy(update={"model_sha256": "e" * 64})),
            ModelMismatchError,
            "other.grv was made by model eeeeeeeeeeee",
        ),
        (make_header(ODD_SPEC), ModelMismatchError, "laid out"),
        (make_header(channels=2), BitstreamError, "2 channels, the files before it 1"),
    ],
)
def test_files_that_do_not_belong_together_are_refused_before_anything_is_written(
    folder: Path, header: ContainerHeader, error: type[Exception], message: str
) -> None:
    first = saved(folder, "first.grv", recording(make_header(), [480]))
    other = saved(folder, "other.grv", recording(header, [480]))
    out = BytesIO()
    with pytest.raises(error, match=message):
        concat([first, other], out)
    assert out.getvalue() == b""


def test_joining_nothing_is_refused() -> None:
    with pytest.raises(BitstreamError, match="no file given"):
        joint_header([])


@pytest.mark.parametrize("level", range(4))
def test_lowering_drops_trailing_levels_and_nothing_else(folder: Path, level: int) -> None:
    given = np.array([[3, 3, 1, 0, 2, 2], [0, 3, 3, 3, 2, 1]])
    codes, _ = synthetic_codes(ODD_SPEC, 2, 6, given)
    header = make_header(ODD_SPEC, channels=2)
    path = saved(folder, "levels.grv", make_file(header, codes, given))
    out = BytesIO()
    with opened(path) as reader:
        lower_levels(reader, out, level)
        assert reader.damage == ()
    expected = make_file(
        header, *synthetic_codes(ODD_SPEC, 2, 6, np.minimum(given, level)), block_frames=100
    )
    assert out.getvalue() == expected


def test_a_level_the_model_lacks_is_refused(folder: Path) -> None:
    for edit in (
        lambda r: lower_levels(r, BytesIO(), 7),
        lambda r: trim(r, BytesIO(), 0, 9, level=7),
    ):
        with (
            opened(saved(folder, "two.grv", TWO)) as reader,
            pytest.raises(BitstreamError, match=r"0\.\.6, got 7"),
        ):
            edit(reader)


def test_a_cut_of_fewer_levels_is_a_cut_of_the_lowered_file(folder: Path) -> None:
    path = saved(folder, "two.grv", TWO)
    both, lowered = BytesIO(), BytesIO()
    with opened(path) as reader:
        trim(reader, both, 3000, 9000, level=2)
        lower_levels(reader, lowered, 2)
    low = saved(folder, "low.grv", lowered.getvalue())
    assert both.getvalue() == trimmed(low, 3000, 9000, DEFAULT_PREROLL_FRAMES)


def test_a_damaged_source_is_reported_and_its_lost_frames_have_level_0(folder: Path) -> None:
    codes, levels = synthetic_codes(SPEC, 1, 12, 6)
    data = bytearray(make_file(make_header(), codes, levels))
    second = data.index(b"\xf5GvB", data.index(b"\xf5GvB") + 1)
    data[second + 20] ^= 1
    path = saved(folder, "damaged.grv", bytes(data))
    lost = np.where((np.arange(12) // 4 == 1), 0, 6)
    for edit in (
        lambda reader, out: lower_levels(reader, out, 6),
        lambda reader, out: trim(reader, out, 0, whole_sample_count(SPEC, 12)),
        join_alone,
    ):
        out = BytesIO()
        with opened(path) as reader:
            edit(reader, out)
            (damage,) = reader.damage
        assert (damage.first_frame, damage.frame_count) == (4, 4)
        result = ContainerFile(BytesIO(out.getvalue()))
        assert result.verify() == ()
        assert result.frames(0, 12)[1].tolist() == [lost.tolist()]


def test_an_unfinished_source_is_finished_by_joining_it(folder: Path) -> None:
    data = recording(make_header(), [4_800])
    path = saved(folder, "cut.grv", data[: data.rindex(b"\xf5GvB")])
    out = BytesIO()
    (damage,) = concat([path], out)
    assert DamageReason.UNFINISHED in {item.reason for item in damage}
    assert len(audio_of(out.getvalue())) % 480 == 240
