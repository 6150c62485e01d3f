"""File or stream, in chunks of any size: the same tokens, the same samples, the exact count."""

import numpy as np
import pytest
from container_cases import ODD_SPEC, SPEC
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grove.codec.arrays import F32, U16
from grove.codec.errors import StreamError
from grove.codec.resample import resample, resampled_samples
from grove.codec.runtime import Codec
from grove.codec.stream import (
    DecodeStream,
    EncodeStream,
    FrameFeed,
    SampleDrain,
    Tail,
    decode,
    encode,
    frames_around,
)

PROPERTY = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
RATES_HZ = [8_000, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000, 192_000]


@pytest.fixture(scope="module")
def speech(clips: list[F32]) -> F32:
    return clips[0][:60_000]


@pytest.fixture(scope="module")
def tokens(codec: Codec, speech: F32) -> U16:
    return encode(codec, speech)


def cut(samples: F32, sizes: list[int]) -> list[F32]:
    """Cut samples into chunks of the given sizes, over and over."""
    chunks, start, turn = [], 0, 0
    while start < len(samples):
        chunks.append(samples[start : start + sizes[turn % len(sizes)]])
        start += sizes[turn % len(sizes)]
        turn += 1
    return chunks


def streamed(codec: Codec, chunks: list[F32], rate_hz: int | None = None) -> U16:
    stream = EncodeStream(codec, rate_hz)
    return np.concatenate([*(stream.push(chunk) for chunk in chunks), stream.finish()], axis=1)[0]


@PROPERTY
@given(sizes=st.lists(st.integers(1, 5_000), min_size=1, max_size=8))
def test_tokens_do_not_depend_on_how_the_audio_was_chunked(
    codec: Codec, speech: F32, tokens: U16, sizes: list[int]
) -> None:
    assert np.array_equal(streamed(codec, cut(speech, sizes)), tokens)


def test_chunks_of_one_sample_give_the_same_tokens(codec: Codec, speech: F32) -> None:
    short = speech[:2_500]
    assert np.array_equal(streamed(codec, cut(short, [1])), encode(codec, short))


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_tokens_of_any_rate_do_not_depend_on_chunking(
    codec: Codec, speech: F32, rate_hz: int
) -> None:
    audio = resample(speech[:24_000], 24_000, rate_hz)
    assert np.array_equal(
        streamed(codec, cut(audio, [1, 333, 4_096]), rate_hz), encode(codec, audio, rate_hz)
    )


@PROPERTY
@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    rate_hz=st.sampled_from(RATES_HZ),
)
def test_audio_does_not_depend_on_how_the_tokens_were_chunked(
    codec: Codec, speech: F32, tokens: U16, sizes: list[int], rate_hz: int
) -> None:
    stream = DecodeStream(codec, rate_hz, end=Tail.of_frame(codec.spec))
    parts, start = [], 0
    for size in [*sizes, *([7] * 100)]:
        parts.append(stream.push(tokens[None, start : start + size], 3))
        start += size
    wanted = resampled_samples(len(speech), 24_000, rate_hz)
    audio = np.concatenate([*parts, stream.finish(len(speech), wanted)])[:, 0]
    assert np.array_equal(audio, decode(codec, tokens, len(speech), 3, rate_hz))


@PROPERTY
@given(samples=st.integers(1, 3_000))
def test_encode_then_decode_restores_the_exact_sample_count(
    codec: Codec, speech: F32, samples: int
) -> None:
    codes = encode(codec, speech[:samples])
    assert len(codes) == codec.spec.frames_for(samples)
    assert len(decode(codec, codes, samples)) == samples


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_the_original_count_comes_back_at_every_rate(codec: Codec, rate_hz: int) -> None:
    tone = np.sin(np.arange(rate_hz // 3 + 17) * 0.05).astype(np.float32) * 0.3
    stream = EncodeStream(codec, rate_hz)
    codes = np.concatenate([stream.push(tone), stream.finish()], axis=1)
    out = DecodeStream(codec, rate_hz, end=stream.samples)
    audio = np.concatenate([out.push(codes), out.finish(output_samples=len(tone))])
    assert len(audio) == len(tone)


def test_decoded_speech_lines_up_with_the_original(codec: Codec, speech: F32, tokens: U16) -> None:
    audio = decode(codec, tokens, len(speech))
    spectra = np.fft.rfft(speech, 1 << 18).conj() * np.fft.rfft(audio, 1 << 18)
    lag = int(np.argmax(np.fft.irfft(spectra)))
    # Only what lies below 1 kHz keeps its waveform, so the peak is broad: a frame is 480 samples.
    assert min(lag, (1 << 18) - lag) <= 2


def test_live_output_is_not_held_back(codec: Codec, tokens: U16) -> None:
    stream = DecodeStream(codec)
    first, second = stream.push(tokens[None, :1]), stream.push(tokens[None, 1:2])
    assert len(first) == codec.spec.hop_samples - codec.spec.delay_samples
    assert len(second) == codec.spec.hop_samples


def test_channels_are_mixed_down(codec: Codec, speech: F32) -> None:
    stereo = np.stack([speech * 0.5, speech * 1.5], axis=1)
    assert np.array_equal(encode(codec, stereo), encode(codec, stereo.mean(axis=1)))


def test_no_samples_give_no_frames(codec: Codec) -> None:
    assert len(encode(codec, np.zeros(0, np.float32))) == 0


def test_a_sample_that_is_no_number_is_refused_with_its_place(codec: Codec) -> None:
    stream = EncodeStream(codec)
    stream.push(np.zeros(700, np.float32))
    bad = np.zeros(10, np.float32)
    bad[4] = np.nan
    with pytest.raises(StreamError, match="sample 704 is not a number"):
        stream.push(bad)


def test_feed_and_drain_are_inverse_around_a_perfect_model(codec: Codec, speech: F32) -> None:
    """Between them stands a delay line: what a model that changes nothing would be."""
    feed, drain = FrameFeed(codec.spec), SampleDrain(codec.spec, end=Tail.of_frame(codec.spec))
    line = np.zeros(codec.spec.delay_samples, np.float32)
    out = []
    for frames in (*(feed.push(chunk) for chunk in cut(speech, [701])), feed.finish()):
        line = np.concatenate((line, frames.reshape(-1)))
        out.append(drain.push(line[None, : frames.size]))
        line = line[frames.size :]
    drain.end_at(feed.samples)
    restored = np.concatenate([*out, drain.finish()])[:, 0]
    assert np.array_equal(restored, speech)


def test_streams_side_by_side_are_each_what_they_are_alone(codec: Codec, speech: F32) -> None:
    stereo = np.stack([speech[:9_000], speech[9_000:18_000]], axis=1)
    both = EncodeStream(codec, channels=2)
    codes = np.concatenate([*(both.push(part) for part in cut(stereo, [701])), both.finish()], 1)
    assert (both.frames, both.samples, both.samples_in) == (codes.shape[1], 9_000, 9_000)
    heard = DecodeStream(codec, channels=2, end=9_000)
    sound = np.concatenate([heard.push(codes, 3), heard.finish()])
    for channel in (0, 1):
        alone = encode(codec, stereo[:, channel].copy())
        assert np.array_equal(codes[channel], alone)
        assert np.array_equal(sound[:, channel], decode(codec, alone, 9_000, 3))


@PROPERTY
@given(bounds=st.tuples(st.integers(0, 20_000), st.integers(0, 20_000)), preroll=st.integers(0, 4))
def test_the_frames_around_a_part_hold_it_and_no_frame_more(
    codec: Codec, bounds: tuple[int, int], preroll: int
) -> None:
    spec, (start, stop) = codec.spec, sorted(bounds)
    part = frames_around(spec, start, stop, preroll)
    assert part.first * spec.hop_samples + part.skip_samples == start
    held = spec.decodable_samples(part.end - part.first) - part.skip_samples
    assert 0 <= held - (stop - start) < spec.hop_samples
    assert part.skip_samples < (preroll + 1) * spec.hop_samples


@given(samples=st.integers(1, 100_000))
def test_frames_for_samples_decode_to_them_with_less_than_a_frame_to_spare(samples: int) -> None:
    for spec in (SPEC, ODD_SPEC):
        spare = spec.decodable_samples(spec.frames_for(samples)) - samples
        assert 0 <= spare < spec.hop_samples
