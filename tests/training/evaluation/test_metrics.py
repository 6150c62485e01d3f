from itertools import pairwise

import numpy as np
import pytest
from evaluation_cases import speech_like
from hypothesis import given, settings
from hypothesis import strategies as st

from grove.codec.errors import AudioError
from grove.training.evaluation import metrics
from grove.training.evaluation.alignment import align, cut, find_shift
from grove.training.evaluation.metrics import (
    Kind,
    mel_bank,
    score,
    si_sdr_db,
    stft_magnitudes,
)

SPEECH = speech_like(2.0)
NOISE = np.random.default_rng(9).standard_normal(len(SPEECH)).astype(np.float32)


def test_a_clip_compared_with_itself_has_the_best_score_of_every_metric() -> None:
    scores = score(SPEECH, SPEECH)
    assert scores.pesq_wb == pytest.approx(4.644, abs=1e-3)
    assert scores.stoi == pytest.approx(1)
    assert scores.estoi == pytest.approx(1)
    assert scores.si_sdr_db == metrics.SI_SDR_LIMIT_DB
    assert (scores.log_mel, scores.stft_distance, scores.buzz) == (0, 0, 0)


def test_more_noise_makes_every_metric_worse() -> None:
    scores = [score(SPEECH, SPEECH + gain * NOISE) for gain in (0.001, 0.01, 0.1)]
    for better, worse in pairwise(scores):
        assert better.pesq_wb > worse.pesq_wb
        assert better.stoi > worse.stoi
        assert better.estoi > worse.estoi
        assert better.si_sdr_db > worse.si_sdr_db
        assert better.log_mel < worse.log_mel
        assert better.stft_distance < worse.stft_distance


def test_scores_repeat_exactly_and_leave_the_global_generator_alone() -> None:
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    first = score(SPEECH, SPEECH + 0.1 * NOISE)
    assert np.random.random() == expected
    assert score(SPEECH, SPEECH + 0.1 * NOISE) == first


@pytest.mark.parametrize("kind", ["music", "noise"])
def test_speech_metrics_do_not_apply_to_other_kinds(kind: Kind) -> None:
    scores = score(SPEECH, SPEECH, kind)
    assert (scores.pesq_wb, scores.stoi, scores.estoi) == (None, None, None)
    assert scores.si_sdr_db == metrics.SI_SDR_LIMIT_DB


def test_a_clip_too_short_for_the_speech_metrics_has_no_figure_for_them() -> None:
    scores = score(SPEECH[4000:6400], SPEECH[4000:6400])
    assert (scores.pesq_wb, scores.stoi, scores.estoi) == (None, None, None)


def test_a_silent_reference_has_no_figure_for_speech_metrics_or_si_sdr() -> None:
    scores = score(0 * SPEECH, SPEECH)
    assert (scores.pesq_wb, scores.stoi, scores.estoi, scores.si_sdr_db) == (None,) * 4


def test_a_decoder_that_fell_silent_scores_at_the_bottom() -> None:
    scores = score(SPEECH, 0 * SPEECH)
    assert scores.pesq_wb is None
    assert (scores.stoi, scores.estoi) == (0, 0)
    assert scores.si_sdr_db == -metrics.SI_SDR_LIMIT_DB
    assert scores.log_mel > 1


def test_pesq_of_a_clip_with_more_utterances_than_the_library_bears_is_a_figure() -> None:
    beat = np.r_[NOISE[:5280] * 0.3, np.zeros(5280, np.float32)]
    many = np.tile(beat, 70)
    assert metrics.pesq_wb(many, many) == pytest.approx(4.644, abs=1e-3)


@pytest.mark.parametrize("ratio_db", [-20.0, 0.0, 12.5, 60.0])
def test_si_sdr_is_the_known_ratio_at_any_scale(ratio_db: float) -> None:
    time = np.arange(24_000) / 24_000
    x = np.sin(2 * np.pi * 200 * time).astype(np.float32)
    noise = np.cos(2 * np.pi * 200 * time) * 10 ** (-ratio_db / 20)
    y = (0.01 * (x + noise)).astype(np.float32)
    assert si_sdr_db(x, y) == pytest.approx(ratio_db, abs=0.01)


def test_log_mel_distance_of_half_the_amplitude_is_ln_2_in_loud_bands() -> None:
    loud = 0.5 * NOISE
    assert metrics.log_mel_distance(loud, loud / 2) == pytest.approx(np.log(2), abs=1e-3)


def test_stft_distance_of_half_the_amplitude_is_ln_2_and_half() -> None:
    loud = 0.5 * NOISE
    assert metrics.stft_distance(loud, loud / 2) == pytest.approx(np.log(2) + 0.5, abs=1e-2)


def test_noise_that_repeats_every_frame_buzzes_and_fresh_noise_does_not() -> None:
    repeated = np.tile(NOISE[: metrics.BUZZ_LAG_SAMPLES], 1 + len(NOISE) // 480)[: len(NOISE)]
    assert metrics.buzz(SPEECH, repeated) > 0.95
    assert metrics.buzz(repeated, repeated) == 0
    assert metrics.buzz(SPEECH, NOISE) < 0.02
    half = (repeated + NOISE) / 2
    assert 0.4 < metrics.buzz(SPEECH, half) < 0.6


@pytest.mark.parametrize("samples", [1, 480, 481])
def test_silence_and_snips_do_not_buzz(samples: int) -> None:
    assert metrics.buzz(NOISE[:samples], np.zeros(samples, np.float32)) == 0


def test_lost_bandwidth_shows_in_the_log_mel_distance_and_not_in_stoi() -> None:
    spectrum = np.fft.rfft(0.1 * NOISE + SPEECH)
    spectrum[int(8000 / 12_000 * len(spectrum)) :] = 0
    narrow = np.fft.irfft(spectrum, len(SPEECH)).astype(np.float32)
    scores = score(0.1 * NOISE + SPEECH, narrow)
    assert scores.stoi > 0.99
    assert scores.log_mel > 0.5


def test_every_mel_band_has_unit_area_and_hears_something() -> None:
    areas = mel_bank().sum(axis=0) * metrics.SCORING_RATE_HZ / metrics.LOG_MEL_WINDOW_SAMPLES
    assert np.all(mel_bank().max(axis=0) > 0)
    # Narrow low bands fall between bins, so that their sampled area is off by up to a half.
    assert np.median(areas) == pytest.approx(1, abs=0.02)
    assert np.argmax(mel_bank()[:, 0]) < np.argmax(mel_bank()[:, -1])


def test_a_sine_stands_at_its_bin() -> None:
    time = np.arange(24_000) / 24_000
    magnitudes = stft_magnitudes(np.sin(2 * np.pi * 3000 * time).astype(np.float32), 1024, 240)
    assert set(np.argmax(magnitudes[4:-4], axis=1)) == {128}
    assert magnitudes[20, 128] == pytest.approx(256, rel=1e-3)


@pytest.mark.parametrize(
    ("reference", "decoded"),
    [(SPEECH, SPEECH[:-1]), (SPEECH[:0], SPEECH[:0]), (SPEECH[None], SPEECH[None])],
)
def test_signals_that_cannot_be_compared_are_refused(
    reference: np.ndarray, decoded: np.ndarray
) -> None:
    with pytest.raises(AudioError, match="cannot compare shapes"):
        score(reference, decoded)


def test_samples_that_are_not_finite_are_refused() -> None:
    broken = SPEECH.copy()
    broken[7] = np.nan
    with pytest.raises(AudioError, match="not finite"):
        score(SPEECH, broken)


# --- alignment --------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(shift=st.integers(-2000, 2000), gain=st.sampled_from([0.01, 1.0]))
def test_alignment_recovers_a_known_shift(shift: int, gain: float) -> None:
    moved = gain * cut(SPEECH, -shift, len(SPEECH))
    assert find_shift(SPEECH, moved, 2400) == shift


def test_an_aligned_signal_matches_wherever_it_still_has_samples() -> None:
    late = np.concatenate([np.zeros(700, np.float32), SPEECH])
    np.testing.assert_array_equal(align(SPEECH, late, 2400), SPEECH)
    early = align(SPEECH, SPEECH[700:], 2400)
    np.testing.assert_array_equal(early[700:], SPEECH[700:])
    assert not early[:700].any()


def test_envelopes_align_what_shares_no_waveform() -> None:
    envelope = np.repeat(np.random.default_rng(4).random(50), 960)[: len(SPEECH)]
    carrier = np.random.default_rng(5).standard_normal(len(SPEECH))
    y = np.concatenate([np.zeros(480), envelope * carrier]).astype(np.float32)
    x = (envelope * NOISE).astype(np.float32)
    assert abs(find_shift(x, y, 2400, "envelope") - 480) < 60


@pytest.mark.parametrize("by", ["waveform", "envelope"])
def test_silence_is_not_moved(by: str) -> None:
    assert find_shift(SPEECH, 0 * SPEECH, 2400, by) == 0
