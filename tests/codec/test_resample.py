import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grove.codec.arrays import F32
from grove.codec.errors import AudioError, StreamError
from grove.codec.resample import MAX_RATE_HZ, MIN_RATE_HZ, Resampler, resample, resampled_samples

RATES = [
    (44_100, 24_000),
    (8_000, 24_000),
    (16_000, 24_000),
    (48_000, 24_000),
    (96_000, 24_000),
    (24_000, 44_100),
    (24_000, 192_000),
    (192_000, 8_000),
    (24_000, 24_000),
    (191_999, 24_000),
]


def _noise(samples: int) -> F32:
    return (0.3 * np.random.default_rng(samples).standard_normal(samples)).astype(np.float32)


def _streamed(audio: F32, rates: tuple[int, int], sizes: list[int]) -> F32:
    resampler = Resampler(*rates)
    out, start = [], 0
    for size in sizes:
        out.append(resampler.push(audio[start : start + size]))
        start += size
    out.append(resampler.push(audio[start:]))
    return np.concatenate((*out, resampler.finish()))


@settings(deadline=None, max_examples=60)
@given(
    rates=st.sampled_from(RATES)
    | st.tuples(st.integers(MIN_RATE_HZ, MAX_RATE_HZ), st.integers(MIN_RATE_HZ, MAX_RATE_HZ)),
    samples=st.integers(0, 20_000),
    sizes=st.lists(st.integers(0, 1) | st.integers(0, 5_000), max_size=30),
)
def test_streamed_equals_one_go_bit_for_bit_at_the_promised_length(
    rates: tuple[int, int], samples: int, sizes: list[int]
) -> None:
    audio = _noise(samples)
    whole = resample(audio, *rates)
    assert len(whole) == resampled_samples(samples, *rates)
    assert _streamed(audio, rates, sizes).tobytes() == whole.tobytes()


@pytest.mark.parametrize("rates", RATES)
def test_chunks_of_one_sample_give_the_same_bits(rates: tuple[int, int]) -> None:
    audio = _noise(3_001)
    assert _streamed(audio, rates, [1] * 3_001).tobytes() == resample(audio, *rates).tobytes()


@pytest.mark.parametrize("rates", RATES)
def test_every_sample_stays_at_its_time(rates: tuple[int, int]) -> None:
    from_rate_hz, to_rate_hz = rates
    seconds, tone_hz = 1.0, 997.0
    at_from = np.arange(int(seconds * from_rate_hz)) / from_rate_hz
    resampled = resample(np.sin(2 * np.pi * tone_hz * at_from).astype(np.float32), *rates)
    expected = np.sin(2 * np.pi * tone_hz * np.arange(len(resampled)) / to_rate_hz)
    middle = slice(len(resampled) // 10, -len(resampled) // 10)
    # One sample off at 24 kHz would be an error of 0.26.
    assert np.abs(resampled - expected)[middle].max() < 1e-3


def test_what_the_new_rate_cannot_hold_is_filtered_out() -> None:
    tone = np.sin(2 * np.pi * 15_000 * np.arange(48_000) / 48_000).astype(np.float32)
    assert np.abs(resample(tone, 48_000, 24_000)[2_000:-2_000]).max() < 1e-5


def test_there_and_back_covers_every_sample() -> None:
    for samples in range(1, 300):
        there = resampled_samples(samples, 44_100, 24_000)
        assert samples <= resampled_samples(there, 24_000, 44_100) <= samples + 2


@pytest.mark.parametrize(
    ("rate_hz", "delay_ms"), [(8_000, 74), (16_000, 39), (44_100, 39), (48_000, 39)]
)
def test_output_follows_input_within_the_documented_delay(rate_hz: int, delay_ms: int) -> None:
    resampler = Resampler(rate_hz, 24_000)
    chunk = np.zeros(rate_hz // 1_000, np.float32)
    delays_ms = []
    for millisecond in range(1_000):
        resampler.push(chunk)
        heard_ms = resampler.samples_out / 24
        delays_ms.append(resampler.samples_in / rate_hz * 1_000 - heard_ms)
        assert millisecond < 200 or delays_ms[-1] < delay_ms
    assert max(delays_ms) > delay_ms - 3


def test_equal_rates_pass_the_samples_at_once() -> None:
    audio = _noise(1_000)
    resampler = Resampler(24_000, 24_000)
    assert resampler.push(audio).tobytes() == audio.tobytes()
    assert len(resampler.finish()) == 0


def test_an_ended_stream_takes_no_more() -> None:
    resampler = Resampler(8_000, 24_000)
    resampler.finish()
    with pytest.raises(StreamError, match="5 samples came after the end"):
        resampler.push(np.zeros(5, np.float32))
    with pytest.raises(StreamError, match="twice"):
        resampler.finish()


@pytest.mark.parametrize("rates", [(7_999, 24_000), (24_000, 192_001), (0, 24_000)])
def test_rates_outside_the_range_are_refused(rates: tuple[int, int]) -> None:
    with pytest.raises(AudioError, match="expected 8000 to 192000"):
        Resampler(*rates)
