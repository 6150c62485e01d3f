"""Cutting a segment's decoded samples to the ones that count."""

import numpy as np
from container_cases import SPEC
from hypothesis import given
from hypothesis import strategies as st

from grove.codec.container.records import MAX_TAIL_FRAMES
from grove.codec.container.segment_cut import SegmentCut

DECODED = np.arange(2 * 5000, dtype=np.float32).reshape(2, 5000)


@given(
    skip=st.integers(0, 3000),
    tail=st.integers(0, MAX_TAIL_FRAMES * SPEC.hop_samples),
    cuts=st.lists(st.integers(0, 5000), max_size=6),
)
def test_the_samples_that_count_come_out_whatever_the_chunks(
    skip: int, tail: int, cuts: list[int]
) -> None:
    available = max(0, 5000 - SPEC.delay_samples - skip)
    sample_count = max(0, available - tail)
    cut = SegmentCut(SPEC, skip)
    parts = [cut.push(chunk) for chunk in np.split(DECODED, sorted(cuts), axis=1)]
    parts.append(cut.finish(sample_count))
    first = SPEC.delay_samples + skip
    expected = DECODED[:, first : first + sample_count]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), expected)


def test_a_segment_without_frames_has_no_samples() -> None:
    assert SegmentCut(SPEC, 0).finish(0).shape == (1, 0)


def test_no_more_than_the_tail_is_held_back() -> None:
    cut = SegmentCut(SPEC, 0)
    given = sum(cut.push(chunk).shape[1] for chunk in np.split(DECODED, 50, axis=1))
    assert given == 5000 - SPEC.delay_samples - MAX_TAIL_FRAMES * SPEC.hop_samples
