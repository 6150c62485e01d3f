"""The cache of decoded audio: a memory-mapped int16 file, its index, and the list of bad files."""

import csv
import fcntl
import logging
import os
import shutil
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from grove.codec.arrays import F32
from grove.codec.config import Frozen
from grove.training.data.decode import (
    FULL_SCALE,
    I16,
    BadFile,
    Decoded,
    Recording,
    decode,
    read_recordings,
)
from grove.training.data.index import AudioIndex
from grove.training.data.manifest import DataError, Listing, list_audio
from grove.training.data.split import hold_out

_SAMPLES, _INDEX, _HEADER, _BAD = "samples.i16", "index.npz", "cache.json", "bad_files.csv"
_PROGRESS_SECONDS = 10.0
_log = logging.getLogger(__name__)


class CacheHeader(Frozen):
    """What a cache was made from; written last."""

    key: str
    sample_rate_hz: int
    world: int
    files: int
    bad_files: int
    samples: int


@dataclass(frozen=True)
class AudioCache:
    """Decoded audio and what is known of it."""

    path: Path
    header: CacheHeader
    index: AudioIndex
    held_out: npt.NDArray[np.bool_]
    samples: I16

    @property
    def sample_rate_hz(self) -> int:
        return self.header.sample_rate_hz

    @property
    def bad_files_path(self) -> Path:
        return self.path / _BAD

    def read(self, row: int, start: int, count: int) -> F32:
        """Return up to `count` samples of recording `row` from its sample `start` on."""
        begin = int(self.index.offset[row]) + start
        end = min(begin + count, int(self.index.offset[row] + self.index.length[row]))
        return self.samples[begin:end].astype(np.float32) * np.float32(1 / FULL_SCALE)

    def rows(self, *, held_out: bool) -> npt.NDArray[np.int64]:
        """Return the recordings of the validation split, or of the training split."""
        return np.flatnonzero(self.held_out == held_out).astype(np.int64)


def build_cache(
    source: Path,
    cache_dir: Path,
    sample_rate_hz: int,
    *,
    shards: Sequence[str] = (),
    root: Path | None = None,
    rank: int = 0,
    world: int = 1,
    validation_share: float = 0.03,
    workers: int = 1,
) -> AudioCache:
    """Open the cache of `source`, decoding it first where the cache is missing or stale.

    With `world` > 1 the cache holds this rank's shards only, so each rank needs its own folder.
    """
    listing = list_audio(source, shards, root)
    if world > 1:
        listing = listing.of_rank(rank, world)
    key = listing.digest(sample_rate_hz)
    cache_dir.parent.mkdir(parents=True, exist_ok=True)
    with _lock(cache_dir):
        header = read_header(cache_dir)
        if header is None or header.key != key:
            _refuse_foreign_folder(cache_dir, header)
            if header is not None:
                _log.warning("cache %s is of other files or another rate, rebuilding", cache_dir)
            partial = _decode_all(listing, cache_dir, sample_rate_hz, workers)
            _finish(partial, cache_dir, key, sample_rate_hz, world)
    return open_cache(cache_dir, validation_share)


def open_cache(cache_dir: Path, validation_share: float = 0.03) -> AudioCache:
    """Open a finished cache without looking at the recordings it was made from."""
    header = read_header(cache_dir)
    if header is None:
        raise DataError(f"{cache_dir} is not an audio cache: it has no valid {_HEADER}")
    try:
        index = AudioIndex.load(cache_dir / _INDEX)
        samples = np.memmap(cache_dir / _SAMPLES, dtype="<i2", mode="r")
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise DataError(
            f"audio cache {cache_dir} is damaged: {error}", "delete the folder to rebuild it"
        ) from error
    if len(samples) != header.samples or len(index) != header.files:
        raise DataError(
            f"audio cache {cache_dir} holds {len(samples)} samples of {len(index)} files, "
            f"its header says {header.samples} of {header.files}",
            "delete the folder to rebuild it",
        )
    # A rank sees only its own shards: the split must not depend on what the others hold.
    held_out = hold_out(index, validation_share, exact=header.world == 1)
    return AudioCache(cache_dir, header, index, held_out, samples)


def read_header(cache_dir: Path) -> CacheHeader | None:
    """Return the header of a finished cache, None where there is none."""
    try:
        return CacheHeader.model_validate_json((cache_dir / _HEADER).read_bytes())
    except (OSError, ValidationError):
        return None


# --- building ---------------------------------------------------------------------------


@contextmanager
def _lock(cache_dir: Path) -> Iterator[None]:
    """Let one process build; the others wait, and then find the cache finished."""
    with cache_dir.with_name(cache_dir.name + ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _refuse_foreign_folder(cache_dir: Path, header: CacheHeader | None) -> None:
    """Never delete what is not a cache."""
    if header is None and cache_dir.exists() and any(cache_dir.iterdir()):
        raise DataError(
            f"cache folder {cache_dir} exists and is not an audio cache",
            "name another folder, or empty this one",
        )


def _decode_all(listing: Listing, cache_dir: Path, sample_rate_hz: int, workers: int) -> Path:
    """Write samples, index and bad files to a partial folder beside the cache."""
    partial = cache_dir.with_name(cache_dir.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    progress = _Progress(listing, sample_rate_hz)
    good: list[Decoded] = []
    bad: list[BadFile] = []
    with (partial / _SAMPLES).open("wb") as file:
        for result in _in_order(read_recordings(listing), sample_rate_hz, workers):
            if isinstance(result, BadFile):
                bad.append(result)
            else:
                file.write(result.samples.astype("<i2", copy=False).tobytes())
                good.append(result.without_samples())
            progress.tick(len(good), len(bad), file.tell() // 2)
        file.flush()
        os.fsync(file.fileno())
    _write_bad_files(partial / _BAD, bad)
    if not good:
        raise DataError(
            f"none of {len(bad)} recordings under {listing.root} could be read"
            + (f"; the first: {bad[0].file}: {bad[0].reason}" if bad else ""),
            f"see {partial / _BAD}",
        )
    AudioIndex.of(good).save(partial / _INDEX)
    return partial


def _in_order(
    recordings: Iterator[Recording], sample_rate_hz: int, workers: int
) -> Iterator[Decoded | BadFile]:
    """Decode on `workers` threads, few recordings ahead, results in the listing's order."""
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[Future[Decoded | BadFile]] = deque(
            pool.submit(decode, recording, sample_rate_hz)
            for recording in islice(recordings, 2 * workers)
        )
        while ahead:
            yield ahead.popleft().result()
            for recording in islice(recordings, 1):
                ahead.append(pool.submit(decode, recording, sample_rate_hz))


def _finish(partial: Path, cache_dir: Path, key: str, sample_rate_hz: int, world: int) -> None:
    """Write the header and put the partial folder in the cache's place."""
    index = AudioIndex.load(partial / _INDEX)
    bad = read_bad_files(partial / _BAD)
    header = CacheHeader(
        key=key,
        sample_rate_hz=sample_rate_hz,
        world=world,
        files=len(index),
        bad_files=len(bad),
        samples=int(index.length.sum()),
    )
    (partial / _HEADER).write_text(header.model_dump_json(indent=2) + "\n")
    stale = cache_dir.with_name(cache_dir.name + ".stale")
    shutil.rmtree(stale, ignore_errors=True)
    if cache_dir.exists():
        cache_dir.rename(stale)
    partial.rename(cache_dir)
    shutil.rmtree(stale, ignore_errors=True)
    _log.info("cached %s in %s", index.summary(sample_rate_hz), cache_dir)
    if bad:
        _log.warning("left out %d bad files, listed in %s", len(bad), cache_dir / _BAD)


class _Progress:
    """Log now and then how far the decoding is."""

    def __init__(self, listing: Listing, sample_rate_hz: int) -> None:
        known = [shard.entries for shard in listing.shards]
        self.total = None if None in known else sum(len(entries or ()) for entries in known)
        self.sample_rate_hz = sample_rate_hz
        self.next_seconds = time.monotonic() + _PROGRESS_SECONDS

    def tick(self, good: int, bad: int, samples: int) -> None:
        if time.monotonic() < self.next_seconds:
            return
        self.next_seconds = time.monotonic() + _PROGRESS_SECONDS
        total = "" if self.total is None else f" of {self.total}"
        hours = samples / self.sample_rate_hz / 3600
        _log.info("decoded %d%s files, %.2f h, %d bad", good + bad, total, hours, bad)


def _write_bad_files(path: Path, bad: Sequence[BadFile]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "reason"))
        writer.writerows((line.file, line.reason) for line in bad)


def read_bad_files(path: Path) -> list[BadFile]:
    """Read the list beside a cache: what was left out, and why."""
    with path.open(encoding="utf-8", newline="") as file:
        return [BadFile(row["file"], row["reason"]) for row in csv.DictReader(file)]
