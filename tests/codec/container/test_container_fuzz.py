"""Wrong containers by the thousand: no crash, no endless claim, no change without a word.

A case that fails is named by its number: `case_of(number)` makes it again. `GROVE_FUZZ_CASES` and
`GROVE_FUZZ_FIRST` run more of them, or others (100,000 take some seven minutes of a core).
"""

import os
from io import BytesIO

import numpy as np
import pytest
from container_cases import ODD_SPEC, PipeEnd
from container_fuzz import FRAME_COUNT, ORIGINALS, Case, case_of

from grove.codec.container.assembler import Block, Event, SegmentEnd, SegmentStart
from grove.codec.container.damage import Damage
from grove.codec.container.file import ContainerFile, ContainerReader
from grove.codec.container.records import (
    MAX_BLOCK_FRAMES,
    MAX_EMPTY_FRAMES,
    MAX_EMPTY_FRAMES_PER_BYTE,
    MAX_LOST_SEGMENTS,
    MAX_TAIL_FRAMES,
)
from grove.codec.errors import BitstreamError

CASES = int(os.environ.get("GROVE_FUZZ_CASES", "20000"))
FIRST = int(os.environ.get("GROVE_FUZZ_FIRST", "0"))
SMALLEST_SEGMENT_BYTES = 48


def check_case(case: Case) -> bool:
    """Read the case from a pipe and from a file; return whether its header could be read."""
    try:
        reader = ContainerReader(PipeEnd(case.data, 64))
    except BitstreamError:
        with pytest.raises(BitstreamError):
            ContainerFile(BytesIO(case.data))
        return False
    piped = list(reader.events())
    check_events(piped, reader.damage, case)
    file = ContainerFile(BytesIO(case.data))
    stored = list(file.events())
    check_events(stored, file.damage, case)
    assert bool(file.damage) == bool(reader.damage)
    check_seeking(file)
    return True


def check_events(events: list[Event], damage: tuple[Damage, ...], case: Case) -> None:
    next_frame, next_segment, is_open = 0, 0, False
    for event in events:
        match event:
            case SegmentStart():
                assert (event.number, event.first_frame) == (next_segment, next_frame)
                assert not is_open
                is_open = True
            case Block():
                assert is_open
                assert event.first_frame == next_frame
                check_block(event, damage, case)
                next_frame = event.end_frame
            case SegmentEnd():
                assert is_open
                check_end(event, next_frame, damage, case)
                next_segment, is_open = next_segment + 1, False
    assert not is_open
    check_bounds(next_frame, next_segment, case)
    if not damage and not case.is_forged:
        assert next_frame == FRAME_COUNT


def check_block(block: Block, damage: tuple[Damage, ...], case: Case) -> None:
    frames = block.end_frame - block.first_frame
    assert 1 <= frames <= MAX_BLOCK_FRAMES
    assert block.codes.shape == (case.original.channels, frames, len(ODD_SPEC.code_sizes))
    assert (block.codes < np.array(ODD_SPEC.code_sizes)).all()
    if case.is_forged:
        return
    span = slice(block.first_frame, block.end_frame)
    lost = np.zeros((case.original.channels, FRAME_COUNT), bool)
    for item in damage:
        rows = slice(None) if item.channel is None else item.channel
        lost[rows, item.first_frame : item.first_frame + item.frame_count] = True
    codes, levels = case.original.codes[:, span], case.original.levels[:, span]
    assert np.array_equal(block.levels, np.where(lost[:, span], 0, levels))
    assert np.array_equal(block.codes, np.where(lost[:, span, None], 0, codes))


def check_end(end: SegmentEnd, next_frame: int, damage: tuple[Damage, ...], case: Case) -> None:
    """The counts last no longer than the frames, and without damage they are the original's."""
    segment = end.segment
    assert segment.end_frame == next_frame
    assert 0 <= segment.sample_count <= segment.frame_count * ODD_SPEC.hop_samples
    if end.exact and segment.sample_count:
        tail = segment.frame_count * ODD_SPEC.hop_samples - segment.sample_count
        held = ODD_SPEC.delay_samples + segment.skip_samples
        assert tail - held <= MAX_TAIL_FRAMES * ODD_SPEC.hop_samples
    if not damage and not case.is_forged:
        assert segment == case.original.segments[end.number]


def check_bounds(frames: int, segments: int, case: Case) -> None:
    """What comes out, and so the time to decode it, is in proportion to the bytes."""
    size = len(case.data)
    # A byte holds at most so many frames with a code, and stands for as many without one.
    bound = MAX_EMPTY_FRAMES + 2 * MAX_EMPTY_FRAMES_PER_BYTE * size
    assert frames * case.original.channels <= bound
    assert segments <= MAX_LOST_SEGMENTS + 2 * size // SMALLEST_SEGMENT_BYTES


def check_seeking(file: ContainerFile) -> None:
    """A range of frames is there whole, or is refused."""
    start = file.frame_count // 2
    try:
        codes, levels = file.frames(start, file.frame_count)
    except BitstreamError:
        assert file.damage
        return
    assert codes.shape[1] == levels.shape[1] == file.frame_count - start


def check_cases(numbers: range) -> int:
    """Return how many of the cases had a header that could be read."""
    readable = 0
    for number in numbers:
        try:
            readable += check_case(case_of(number))
        except Exception as error:
            raise AssertionError(f"case_of({number}): {error!r}") from error
    return readable


def test_a_case_is_the_same_whenever_it_is_made() -> None:
    assert [case_of(number).data for number in range(50)] == [
        case_of(number).data for number in range(50)
    ]


def test_the_originals_pass_as_cases_that_hold_no_damage() -> None:
    for original in ORIGINALS:
        assert check_case(Case(original.data, original, is_forged=False))
        reader = ContainerReader(BytesIO(original.data))
        list(reader.events())
        assert reader.damage == ()


def test_the_harness_sees_a_change_that_is_not_reported() -> None:
    original, other = ORIGINALS[1], ORIGINALS[0]
    shown = Case(original.data, other, is_forged=False)
    assert check_case(shown)  # the same frames in other blocks
    codes = original.codes.copy()
    codes[0, 3, 0] ^= 1
    altered = type(original)(
        original.data, original.channels, codes, original.levels, original.segments
    )
    with pytest.raises(AssertionError):
        check_case(Case(original.data, altered, is_forged=False))


def test_a_thousand_wrong_containers_do_no_harm() -> None:
    assert check_cases(range(1000)) > 500


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_many_thousand_wrong_containers_do_no_harm(part: int) -> None:
    size = CASES // 10
    assert check_cases(range(FIRST + part * size, FIRST + (part + 1) * size)) > size // 2
