"""Augmentations: each does what its name says, at the chance and in the range of the recipe."""

import logging
from pathlib import Path

import numpy as np
import pytest

from grove.codec.arrays import F32
from grove.training.data.augment import (
    Augmenter,
    add_noise,
    change_level,
    clip_peaks,
    level,
    limit_band,
    reverberate,
    room_response,
)
from grove.training.data.cache import AudioCache, CacheHeader
from grove.training.data.config import (
    AugmentConfig,
    BandLimitConfig,
    ClippingConfig,
    GainConfig,
    NoiseConfig,
    ReverbConfig,
)
from grove.training.data.index import AudioIndex

RATE_HZ = 24_000
N = 12_000


def white(seed: int = 0, count: int = N) -> F32:
    return (0.1 * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def cache_of(kinds: list[str], length: int = 3_000) -> AudioCache:
    """Return a cache of square waves, one recording per kind named."""
    samples = np.tile(np.array([8_192, -8_192], np.int16), length * len(kinds) // 2)
    index = AudioIndex(
        file=np.array([f"{n}.wav" for n in range(len(kinds))]),
        source=np.array(["s"] * len(kinds)),
        speaker=np.array(["s"] * len(kinds)),
        kind=np.array(kinds),
        native_rate=np.full(len(kinds), RATE_HZ, dtype=np.int64),
        offset=np.arange(len(kinds), dtype=np.int64) * length,
        length=np.full(len(kinds), length, dtype=np.int64),
    )
    header = CacheHeader(
        key="x",
        sample_rate_hz=RATE_HZ,
        world=1,
        files=len(kinds),
        bad_files=0,
        samples=len(samples),
    )
    return AudioCache(Path("cache"), header, index, np.zeros(len(kinds), np.bool_), samples)


def only(
    gain: float = 0, noise: float = 0, reverb: float = 0, band_limit: float = 0, clipping: float = 0
) -> AugmentConfig:
    return AugmentConfig(
        gain=GainConfig(probability=gain, range_db=(-12, -6)),
        noise=NoiseConfig(probability=noise),
        reverb=ReverbConfig(probability=reverb),
        band_limit=BandLimitConfig(probability=band_limit),
        clipping=ClippingConfig(probability=clipping),
    )


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 20.0])
def test_noise_comes_at_the_asked_ratio(snr_db: float) -> None:
    crop, noise = white(1), white(2) * 7
    added = add_noise(crop, noise, snr_db) - crop
    assert 20 * np.log10(level(crop) / level(added)) == pytest.approx(snr_db, abs=0.01)
    assert np.corrcoef(added, noise)[0, 1] > 0.999


def test_silence_on_either_side_adds_no_noise() -> None:
    silence = np.zeros(N, np.float32)
    assert np.array_equal(add_noise(silence, white(), 10), silence)
    assert np.array_equal(add_noise(white(), silence, 10), white())


def test_a_room_decays_by_60_db_in_its_time() -> None:
    room = room_response(0.5, 6.0, RATE_HZ, np.random.default_rng(0))
    assert room[0] == 1.0
    assert 20 * np.log10(1 / np.sqrt(np.sum(room[1:].astype(float) ** 2))) == pytest.approx(6.0)
    tail = room[1:]
    first, last = tail[:1_200].std(), tail[-1_200:].std()
    # The middles of the two ends lie 90 % of the decay apart: 54 dB.
    assert 20 * np.log10(first / last) == pytest.approx(54, abs=2)


def test_reverberation_keeps_length_level_and_causality() -> None:
    click = np.zeros(N, np.float32)
    click[5_000] = 0.5
    room = room_response(0.2, 3.0, RATE_HZ, np.random.default_rng(0))
    wet = reverberate(click, room)
    assert (len(wet), wet.dtype.name) == (N, "float32")
    assert level(wet) == pytest.approx(level(click), rel=1e-4)
    assert np.abs(wet[:5_000]).max() < 1e-6
    assert np.abs(wet).argmax() == 5_000
    assert np.abs(wet[5_001:9_000]).max() > 1e-3
    assert np.array_equal(reverberate(np.zeros(N, np.float32), room), np.zeros(N, np.float32))


@pytest.mark.parametrize("cutoff_hz", [3_400.0, 8_000.0])
def test_a_band_limit_passes_below_and_stops_above(cutoff_hz: float) -> None:
    crop = white()
    limited = limit_band(crop, cutoff_hz, RATE_HZ)
    ratio = np.abs(np.fft.rfft(limited)) / np.abs(np.fft.rfft(crop))
    hertz = np.fft.rfftfreq(N, 1 / RATE_HZ)
    assert np.median(ratio[hertz < 0.8 * cutoff_hz]) == pytest.approx(1.0, abs=0.02)
    assert np.median(ratio[hertz > 1.4 * cutoff_hz]) < 0.1
    assert limited.dtype == np.float32


def test_a_band_limit_at_the_nyquist_frequency_changes_nothing() -> None:
    assert np.array_equal(limit_band(white(), 12_000, RATE_HZ), white())


def test_gain_scales_but_never_clips() -> None:
    crop = white()
    assert level(change_level(crop, -10)) == pytest.approx(level(crop) * 10**-0.5)
    assert np.abs(change_level(crop, 60)).max() == pytest.approx(1.0)
    full = crop / np.abs(crop).max() * 1.05
    assert np.array_equal(change_level(full, 6), full)
    assert not change_level(np.zeros(N, np.float32), 6).any()


def test_clipping_cuts_at_its_depth_and_leaves_the_rest() -> None:
    crop = white()
    ceiling = np.abs(crop).max() / 2
    clipped = clip_peaks(crop, 20 * np.log10(2))
    assert np.abs(clipped).max() == pytest.approx(ceiling)
    below = np.abs(crop) < 0.99 * ceiling
    assert np.array_equal(clipped[below], crop[below])
    assert (np.abs(crop) > 1.01 * ceiling).any()


@pytest.mark.parametrize("name", ["gain", "noise", "reverb", "band_limit", "clipping"])
def test_an_augmentation_comes_as_often_as_its_probability(name: str) -> None:
    never = Augmenter(only(), cache_of(["noise"]), N)
    sometimes = Augmenter(
        only(
            gain=0.3 * (name == "gain"),
            noise=0.3 * (name == "noise"),
            reverb=0.3 * (name == "reverb"),
            band_limit=0.3 * (name == "band_limit"),
            clipping=0.3 * (name == "clipping"),
        ),
        cache_of(["noise"]),
        N,
    )
    changed = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        assert np.array_equal(never.augment(white(), rng), white())
        changed += not np.array_equal(
            sometimes.augment(white(), np.random.default_rng(seed)), white()
        )
    assert changed == pytest.approx(90, abs=35)


def test_everything_at_once_stays_within_full_scale_and_is_deterministic() -> None:
    augmenter = Augmenter(only(1, 1, 1, 1, 1), cache_of(["noise"]), N)
    for seed in range(20):
        crop = white(seed) * 9
        first = augmenter.augment(crop, np.random.default_rng(seed))
        again = augmenter.augment(crop, np.random.default_rng(seed))
        assert np.array_equal(first, again)
        assert (first.shape, first.dtype.name) == ((N,), "float32")
        assert np.isfinite(first).all()
        assert np.abs(first).max() <= 1.0


def test_noise_crops_get_no_noise_and_short_noises_are_repeated() -> None:
    augmenter = Augmenter(only(noise=1), cache_of(["speech", "noise"], length=1_000), N)
    crop = white()
    untouched = augmenter.augment(crop, np.random.default_rng(0), is_noise=True)
    assert np.array_equal(untouched, crop)
    added = augmenter.augment(crop, np.random.default_rng(0)) - crop
    assert np.abs(np.abs(added) / np.abs(added).mean() - 1).max() < 1e-3


def test_data_without_noise_is_warned_of_and_gets_none(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        augmenter = Augmenter(only(noise=1), cache_of(["speech"]), N)
    assert "no noise will be added" in caplog.text
    assert np.array_equal(augmenter.augment(white(), np.random.default_rng(0)), white())
