"""Training batches as a pure function of seed, step and rank: resume needs the step only."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from grove.codec.arrays import F32, I64
from grove.codec.errors import ConfigError
from grove.training.data.augment import Augmenter
from grove.training.data.cache import AudioCache
from grove.training.data.config import CropPlan, DataConfig, SilenceConfig
from grove.training.data.index import AudioIndex
from grove.training.data.manifest import KINDS, DataError

F64 = npt.NDArray[np.float64]

_SILENCE_BLOCKS_PER_SECOND = 50
# A crop is drawn again this often at most where it is silent; then it is taken as it is.
_ATTEMPTS = 6


def draw_shares(index: AudioIndex, rows: I64, config: DataConfig) -> F64:
    """Return the probability of each of `rows` to be drawn, [len(rows)], of sum 1.

    Kinds get their weights, sources within a kind and speakers within a source the tempered
    share of their samples, recordings of a speaker their share of the speaker's samples.
    """
    samples = index.length[rows].astype(np.float64)
    kind, source, speaker = _groups(index, rows)
    shares = samples / _sum_over(speaker, samples)
    for inner, outer, exponent in (
        (speaker, source, config.speaker_exponent),
        (source, kind, config.source_exponent),
    ):
        tempered = _sum_over(inner, samples) ** exponent
        members = _first_of_each(inner)
        shares *= tempered / _sum_over(outer, np.where(members, tempered, 0.0))
    wide = (index.kind[rows] == "speech") & (index.native_rate[rows] >= config.wideband_rate_hz)
    shares *= np.where(wide, config.wideband_factor, 1.0)
    shares *= _kind_weight(index, rows, config) / _sum_over(kind, shares)
    total = float(shares.sum())
    if total == 0:
        raise DataError(
            f"nothing can be drawn: the data holds {sorted(set(index.kind[rows].tolist()))} only",
            "give one of these kinds a weight in data.kinds",
        )
    result: F64 = shares / total
    return result


def _groups(index: AudioIndex, rows: I64) -> tuple[I64, I64, I64]:
    """Return group numbers of each row by kind, by kind and source, and by speaker."""
    keys = index.speaker_keys()
    numbers: list[I64] = []
    for depth in (1, 2, 3):
        seen: dict[tuple[str, ...], int] = {}
        found = [seen.setdefault(keys[row][:depth], len(seen)) for row in rows.tolist()]
        numbers.append(np.array(found, dtype=np.int64))
    return numbers[0], numbers[1], numbers[2]


def _sum_over(group: I64, values: F64) -> F64:
    """Return for each row the sum of its group."""
    return np.bincount(group, weights=values).astype(np.float64)[group]


def _first_of_each(group: I64) -> npt.NDArray[np.bool_]:
    mask = np.zeros(len(group), dtype=np.bool_)
    mask[np.unique(group, return_index=True)[1]] = True
    return mask


def _kind_weight(index: AudioIndex, rows: I64, config: DataConfig) -> F64:
    weights = np.zeros(len(rows))
    for kind, weight in zip(
        KINDS, (config.kinds.speech, config.kinds.music, config.kinds.noise), strict=True
    ):
        weights[index.kind[rows] == kind] = weight
    return weights


def is_silent(crop: F32, block_samples: int, config: SilenceConfig) -> bool:
    """Say whether too many blocks of a crop [N] stay below the threshold."""
    whole = len(crop) // block_samples * block_samples
    if whole == 0:
        return False
    peaks = np.abs(crop[:whole].reshape(-1, block_samples)).max(axis=1)
    silent = np.mean(peaks < 10 ** (config.threshold_dbfs / 20))
    return bool(silent > config.max_share)


class CropDrawer:
    """Draws crops of one length from some recordings of a cache."""

    def __init__(
        self, cache: AudioCache, rows: I64, shares: F64, crop_samples: int, silence: SilenceConfig
    ) -> None:
        self.cache, self.rows, self.crop_samples, self.silence = cache, rows, crop_samples, silence
        self.block_samples = cache.sample_rate_hz // _SILENCE_BLOCKS_PER_SECOND
        edges = np.cumsum(shares)
        self.edges: F64 = edges / edges[-1]

    def draw(self, rng: np.random.Generator) -> tuple[F32, int]:
        """Return one crop [N] and its recording's row; silent ones are mostly drawn again."""
        for _ in range(_ATTEMPTS):
            crop, row = self._draw_any(rng)
            keep = rng.random() < self.silence.keep_share
            if keep or not is_silent(crop, self.block_samples, self.silence):
                break
        return crop, row

    def _draw_any(self, rng: np.random.Generator) -> tuple[F32, int]:
        """Draw a recording and a place in it; a short one gets zeros before and after."""
        row = int(self.rows[np.searchsorted(self.edges, rng.random(), side="right")])
        spare = int(self.cache.index.length[row]) - self.crop_samples
        place = int(rng.integers(0, abs(spare) + 1))
        if spare >= 0:
            return self.cache.read(row, place, self.crop_samples), row
        crop = np.zeros(self.crop_samples, dtype=np.float32)
        short = self.cache.read(row, 0, self.crop_samples)
        crop[place : place + len(short)] = short
        return crop, row


class BatchSource(Protocol):
    """Where crops come from: a pure function of the step."""

    def batch(self, step: int) -> F32:
        """Return crops [B, N]."""
        ...


class BatchSampler:
    """Draws this rank's part of every global batch."""

    def __init__(
        self, cache: AudioCache, recipe: CropPlan, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        if recipe.batch % world:
            raise ConfigError(f"batch is {recipe.batch}, expected a multiple of {world} ranks")
        if cache.sample_rate_hz != recipe.codec.sample_rate_hz:
            raise ConfigError(
                f"the cache is at {cache.sample_rate_hz} Hz, "
                f"the codec at {recipe.codec.sample_rate_hz} Hz"
            )
        self.seed, self.recipe = seed, recipe
        # With shards of its own a rank draws from other audio, and needs no other numbers.
        each = recipe.batch // world
        self.items = range(rank * each, (rank + 1) * each)
        rows = cache.rows(held_out=False)
        shares = draw_shares(cache.index, rows, recipe.data)
        silence = recipe.data.silence
        self.drawer = CropDrawer(cache, rows, shares, recipe.crop_samples, silence)
        self.kinds = cache.index.kind
        self.augmenter = Augmenter(recipe.augment, cache, recipe.crop_samples)

    def batch(self, step: int) -> F32:
        """Return crops [B, N] of step `step`, the same whenever and wherever it is asked."""
        return np.stack([self._item(step, item) for item in self.items])

    def _item(self, step: int, item: int) -> F32:
        crop, row = self.drawer.draw(item_generator(self.seed, step, item, purpose=0))
        rng = item_generator(self.seed, step, item, purpose=1)
        return self.augmenter.augment(crop, rng, is_noise=str(self.kinds[row]) == "noise")


def item_generator(seed: int, step: int, item: int, purpose: int) -> np.random.Generator:
    """Return the generator of one item: Philox counts from (purpose, item, step) upward."""
    counter = np.array([0, purpose, item, step], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=seed, counter=counter))


class Prefetcher:
    """Makes the next batch on a thread while the trainer works on this one."""

    def __init__(self, source: BatchSource) -> None:
        self._source = source
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._ahead: dict[int, Future[F32]] = {}

    def batch(self, step: int) -> F32:
        """Return batch `step`, and start on the one after it."""
        pending = self._ahead.pop(step, None)
        for stale in self._ahead.values():
            stale.cancel()
        if pending is None:
            pending = self._pool.submit(self._source.batch, step)
        self._ahead = {step + 1: self._pool.submit(self._source.batch, step + 1)}
        return pending.result()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
