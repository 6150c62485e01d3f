"""Batches: balanced as the recipe says, and a function of seed, step and rank only."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grove.codec.arrays import F32
from grove.codec.errors import ConfigError
from grove.training.config import Recipe, ReconstructionStage
from grove.training.data.cache import AudioCache, CacheHeader
from grove.training.data.config import (
    AugmentConfig,
    BandLimitConfig,
    ClippingConfig,
    DataConfig,
    GainConfig,
    KindWeights,
    NoiseConfig,
    ReverbConfig,
    SilenceConfig,
)
from grove.training.data.decode import I16
from grove.training.data.index import AudioIndex
from grove.training.data.manifest import DataError
from grove.training.data.sampler import BatchSampler, Prefetcher, draw_shares, is_silent

RATE_HZ = 24_000
UNCHANGED = AugmentConfig(
    gain=GainConfig(probability=0),
    noise=NoiseConfig(probability=0),
    reverb=ReverbConfig(probability=0),
    band_limit=BandLimitConfig(probability=0),
    clipping=ClippingConfig(probability=0),
)
PLAIN_DATA = DataConfig()
# kind, source, speaker, native rate, samples
ROWS = [
    ("speech", "big", "anna", 16_000, 400_000),
    ("speech", "big", "bert", 16_000, 90_000),
    ("speech", "big", "bert", 16_000, 10_000),
    ("speech", "wide", "cora", 44_100, 125_000),
    ("music", "band", "band", 44_100, 60_000),
    ("noise", "yard", "dogs", 44_100, 30_000),
    ("speech", "held", "dora", 44_100, 100_000),
]


def index_of(rows: list[tuple[str, str, str, int, int]]) -> AudioIndex:
    length = np.array([row[4] for row in rows], dtype=np.int64)
    return AudioIndex(
        file=np.array([f"{number}.wav" for number in range(len(rows))]),
        source=np.array([row[1] for row in rows]),
        speaker=np.array([row[2] for row in rows]),
        kind=np.array([row[0] for row in rows]),
        native_rate=np.array([row[3] for row in rows], dtype=np.int64),
        offset=np.cumsum(length) - length,
        length=length,
    )


def cache_of(rows: list[tuple[str, str, str, int, int]], samples: I16 | None = None) -> AudioCache:
    """Return a cache where every recording holds its own constant, unless samples are given."""
    index = index_of(rows)
    if samples is None:
        samples = np.repeat(np.arange(1, len(rows) + 1) * 1_000, index.length).astype(np.int16)
    header = CacheHeader(
        key="x",
        sample_rate_hz=RATE_HZ,
        world=1,
        files=len(rows),
        bad_files=0,
        samples=len(samples),
    )
    return AudioCache(Path("cache"), header, index, index.source == "held", samples)


def recipe_of(
    batch: int = 12,
    augment: AugmentConfig = UNCHANGED,
    data: DataConfig = PLAIN_DATA,
    crop_seconds: float = 0.1,
) -> Recipe:
    stages = (ReconstructionStage(steps=1),)
    return Recipe(
        name="x",
        batch=batch,
        augment=augment,
        data=data,
        crop_seconds=crop_seconds,
        stages=stages,
    )


def random_cache() -> AudioCache:
    total = sum(row[4] for row in ROWS)
    rng = np.random.default_rng(1)
    return cache_of(ROWS, rng.integers(-20_000, 20_000, total, dtype=np.int16))


ALL_ON = AugmentConfig(
    gain=GainConfig(probability=0.9),
    noise=NoiseConfig(probability=0.5),
    reverb=ReverbConfig(probability=0.3),
    band_limit=BandLimitConfig(probability=0.5),
    clipping=ClippingConfig(probability=0.5),
)


def test_a_batch_is_a_function_of_the_step_whatever_was_drawn_before() -> None:
    recipe = recipe_of(augment=ALL_ON)
    unbroken = BatchSampler(random_cache(), recipe, seed=3)
    batches = [unbroken.batch(step) for step in range(6)]
    resumed = BatchSampler(random_cache(), recipe, seed=3)
    assert np.array_equal(resumed.batch(5), batches[5])
    assert np.array_equal(resumed.batch(2), batches[2])
    assert batches[0].dtype == np.float32
    assert batches[0].shape == (12, recipe.crop_samples)


def test_steps_seeds_and_items_all_differ() -> None:
    recipe = recipe_of()
    first, other = (BatchSampler(random_cache(), recipe, seed) for seed in (3, 4))
    crops = np.concatenate([first.batch(0), first.batch(1), other.batch(0)])
    assert len({crop.tobytes() for crop in crops}) == 36


@pytest.mark.parametrize("world", [2, 3, 4])
def test_ranks_together_draw_the_batch_of_one_process(world: int) -> None:
    recipe = recipe_of(augment=ALL_ON)
    alone = BatchSampler(random_cache(), recipe, seed=3)
    ranks = [BatchSampler(random_cache(), recipe, 3, rank, world) for rank in range(world)]
    for step in (0, 1_000_000):
        together = np.concatenate([sampler.batch(step) for sampler in ranks])
        assert np.array_equal(together, alone.batch(step))


def test_a_batch_that_ranks_cannot_share_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch is 12, expected a multiple of 5 ranks"):
        BatchSampler(random_cache(), recipe_of(), 0, 0, 5)


def test_a_cache_at_another_rate_is_refused() -> None:
    cache = random_cache()
    header = cache.header.model_copy(update={"sample_rate_hz": 16_000})
    other = AudioCache(cache.path, header, cache.index, cache.held_out, cache.samples)
    with pytest.raises(ConfigError, match="cache is at 16000 Hz, the codec at 24000 Hz"):
        BatchSampler(other, recipe_of(), 0)


def test_prefetching_changes_nothing_and_survives_jumps() -> None:
    recipe = recipe_of(augment=ALL_ON)
    plain = BatchSampler(random_cache(), recipe, seed=3)
    with Prefetcher(BatchSampler(random_cache(), recipe, seed=3)) as ahead:
        for step in (0, 1, 2, 9, 3, 3, 4):
            assert np.array_equal(ahead.batch(step), plain.batch(step))


def test_a_prefetched_failure_reaches_the_trainer() -> None:
    class Broken:
        def batch(self, step: int) -> F32:
            if step:
                raise DataError("the disk is gone")
            return np.zeros((1, 1), np.float32)

    with Prefetcher(Broken()) as ahead:
        ahead.batch(0)
        with pytest.raises(DataError, match="the disk is gone"):
            ahead.batch(1)


def test_shares_follow_the_recipe() -> None:
    index = index_of(ROWS)
    config = DataConfig(
        source_exponent=0.5, speaker_exponent=0.5, wideband_factor=1.0, kinds=KindWeights()
    )
    shares = draw_shares(index, np.arange(6), config)
    # Sources of speech: sqrt(500k) : sqrt(125k) = 2 : 1; in "big": sqrt(400k) : sqrt(100k) = 2 : 1.
    big, wide = 0.8 * 2 / 3, 0.8 / 3
    expected = [big * 2 / 3, big / 3 * 0.9, big / 3 * 0.1, wide, 0.1, 0.1]
    assert shares == pytest.approx(expected)


def test_wide_band_speech_gains_by_its_factor_within_speech() -> None:
    index = index_of(ROWS)
    plain = draw_shares(index, np.arange(6), DataConfig(wideband_factor=1.0))
    tripled = draw_shares(index, np.arange(6), DataConfig(wideband_factor=3.0))
    assert tripled[3] / tripled[0] == pytest.approx(3 * plain[3] / plain[0])
    assert tripled[:4].sum() == pytest.approx(0.8)
    assert tripled[4:] == pytest.approx([0.1, 0.1])


def test_missing_kinds_give_their_share_to_the_others() -> None:
    index = index_of(ROWS)
    shares = draw_shares(index, np.array([0, 4]), DataConfig())
    assert shares == pytest.approx([0.8 / 0.9, 0.1 / 0.9])
    with pytest.raises(DataError, match=r"holds \['music'\] only"):
        draw_shares(index, np.array([4]), DataConfig(kinds=KindWeights(music=0)))


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["speech", "music", "noise"]),
            st.sampled_from(["a", "b", "c"]),
            st.sampled_from(["x", "y", "z"]),
            st.sampled_from([8_000, 16_000, 44_100]),
            st.integers(1, 10_000),
        ),
        min_size=1,
        max_size=30,
    ),
    exponent=st.floats(0, 1),
)
def test_kinds_get_their_weights_for_any_data(
    rows: list[tuple[str, str, str, int, int]], exponent: float
) -> None:
    index = index_of(rows)
    config = DataConfig(source_exponent=exponent, speaker_exponent=exponent)
    shares = draw_shares(index, np.arange(len(rows)), config)
    weights = {"speech": 0.8, "music": 0.1, "noise": 0.1}
    total = sum(weights[kind] for kind in set(index.kind.tolist()))
    assert (shares > 0).all()
    for kind in set(index.kind.tolist()):
        assert shares[index.kind == kind].sum() == pytest.approx(weights[kind] / total)


def test_recordings_are_drawn_as_often_as_their_share_and_held_out_ones_never() -> None:
    cache = cache_of(ROWS)
    sampler = BatchSampler(cache, recipe_of(batch=500, crop_seconds=0.02), seed=0)
    crops = np.concatenate([sampler.batch(step) for step in range(10)])
    drawn = np.rint(crops.max(axis=1) * 32_768 / 1_000).astype(int) - 1
    shares = draw_shares(cache.index, np.arange(6), DataConfig())
    counts = np.bincount(drawn, minlength=7)
    assert counts[6] == 0
    deviation = np.sqrt(shares * (1 - shares) * len(drawn))
    assert (np.abs(counts[:6] - shares * len(drawn)) < 4 * deviation).all()


def test_every_place_of_a_recording_can_be_drawn() -> None:
    ramp = np.arange(1, 1_002, dtype=np.int16) * 30
    cache = cache_of([("speech", "s", "s", 16_000, 1_001)], ramp)
    sampler = BatchSampler(cache, recipe_of(batch=2_000, crop_seconds=0.04), seed=0)
    crops = np.rint(sampler.batch(0) * 32_768).astype(int)
    starts = crops[:, 0] // 30 - 1
    assert (starts.min(), starts.max()) == (0, 41)
    assert len(set(starts.tolist())) == 42
    assert np.array_equal(crops, ramp[starts[:, None] + np.arange(960)])


def test_a_short_recording_lies_whole_within_zeros() -> None:
    cache = cache_of([("speech", "s", "s", 16_000, 700)])
    batch = BatchSampler(cache, recipe_of(batch=50, crop_seconds=0.04), seed=0).batch(0)
    assert (batch > 0).sum(axis=1).tolist() == [700] * 50
    starts = (batch > 0).argmax(axis=1)
    assert len(set(starts.tolist())) > 10


def test_silent_crops_are_mostly_drawn_again() -> None:
    loud = np.full(24_000, 3_000, dtype=np.int16)
    half_silent = np.concatenate([loud, np.zeros(24_000, np.int16)])
    cache = cache_of([("speech", "s", "s", 16_000, 48_000)], half_silent)

    def silent_share(silence: SilenceConfig) -> float:
        recipe = recipe_of(batch=400, crop_seconds=0.04, data=DataConfig(silence=silence))
        batch = BatchSampler(cache, recipe, seed=0).batch(0)
        return float(np.mean([is_silent(crop, 480, silence) for crop in batch]))

    assert silent_share(SilenceConfig(keep_share=1.0)) > 0.4
    assert silent_share(SilenceConfig(keep_share=0.1)) == pytest.approx(0.1, abs=0.05)
    assert silent_share(SilenceConfig(keep_share=0.0)) < 0.05


def test_data_that_is_silent_throughout_still_gives_batches() -> None:
    whisper = np.ones(48_000, dtype=np.int16)
    cache = cache_of([("speech", "s", "s", 16_000, 48_000)], whisper)
    data = DataConfig(silence=SilenceConfig(keep_share=0.0))
    batch = BatchSampler(cache, recipe_of(data=data), seed=0).batch(0)
    assert (batch == np.float32(1 / 32_768)).all()
