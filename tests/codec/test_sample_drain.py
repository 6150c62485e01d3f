"""Cutting decoded samples to the ones that count: in front, behind, and at any rate."""

import numpy as np
import pytest
from container_cases import SPEC
from hypothesis import given
from hypothesis import strategies as st

from grove.codec.arrays import F32
from grove.codec.resample import resample, resampled_samples
from grove.codec.stream import End, SampleDrain, Tail

DECODED = np.arange(2 * 5000, dtype=np.float32).reshape(2, 5000)
TAIL_SAMPLES = 4 * SPEC.hop_samples
CUTS = st.lists(st.integers(0, 5000), max_size=6)


def drained(drain: SampleDrain, cuts: list[int], end: int | None = None) -> F32:
    """Return what comes out for DECODED in chunks; the end is told behind the last of them."""
    parts = [drain.push(chunk) for chunk in np.split(DECODED, sorted(cuts), axis=1)]
    if end is not None:
        drain.end_at(end)
    return np.concatenate([*parts, drain.finish()])


@given(skip=st.integers(0, 3000), tail=st.integers(0, TAIL_SAMPLES), cuts=CUTS)
def test_the_samples_that_count_come_out_whatever_the_chunks(
    skip: int, tail: int, cuts: list[int]
) -> None:
    end = max(0, 5000 - SPEC.delay_samples - skip - tail)
    drain = SampleDrain(SPEC, channels=2, skip_samples=skip, end=Tail(TAIL_SAMPLES))
    first = SPEC.delay_samples + skip
    np.testing.assert_array_equal(drained(drain, cuts, end), DECODED[:, first : first + end].T)


@given(skip=st.integers(0, 3000), end=st.integers(0, 4000), cuts=CUTS)
def test_an_end_that_is_known_cuts_the_same_and_holds_nothing(
    skip: int, end: int, cuts: list[int]
) -> None:
    drain = SampleDrain(SPEC, channels=2, skip_samples=skip, end=end)
    first = SPEC.delay_samples + skip
    given_samples = DECODED[:, first : first + end].T
    whole = drained(drain, cuts)
    np.testing.assert_array_equal(whole[: len(given_samples)], given_samples)
    # An end beyond the last frame is kept too, in silence.
    assert whole.shape == (end, 2)
    assert not whole[len(given_samples) :].any()


@pytest.mark.parametrize("end", [3_001, Tail(TAIL_SAMPLES)])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000])
def test_other_rates_hear_what_counts_and_nothing_of_the_padding(end: End, rate_hz: int) -> None:
    drain = SampleDrain(SPEC, rate_hz, channels=2, end=end)
    heard = drained(drain, [700, 2_000], 3_001)
    counted = DECODED[:, SPEC.delay_samples :][:, :3_001]
    assert len(heard) == resampled_samples(3_001, SPEC.sample_rate_hz, rate_hz)
    for channel, sound in zip(counted, heard.T, strict=True):
        np.testing.assert_array_equal(sound, resample(channel, SPEC.sample_rate_hz, rate_hz))


def test_a_count_at_the_output_s_rate_is_met_to_the_sample() -> None:
    for wanted in (0, 5, 4_000, 7_000):
        drain = SampleDrain(SPEC, 48_000)
        came = drain.push(DECODED[:1, :2_400])
        rest = drain.finish(max(wanted, len(came)))
        assert len(came) + len(rest) == max(wanted, len(came))


def test_a_stream_without_frames_has_no_samples() -> None:
    assert SampleDrain(SPEC, end=0).finish().shape == (0, 1)
    assert SampleDrain(SPEC, channels=2).finish().shape == (0, 2)


def test_no_more_than_the_tail_is_held_back() -> None:
    drain = SampleDrain(SPEC, channels=2, end=Tail(TAIL_SAMPLES))
    given_samples = sum(len(drain.push(chunk)) for chunk in np.split(DECODED, 50, axis=1))
    assert given_samples == 5000 - SPEC.delay_samples - TAIL_SAMPLES
