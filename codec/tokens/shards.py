"""One shard from its slice of the plan to its record. Everything an engine has to run is here."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from grove.codec.atomic import atomic_file
from grove.codec.bundle import load_bundle
from grove.codec.config import Frozen
from grove.codec.errors import ModelMismatchError
from grove.codec.exact.canonical import CanonicalEncoder
from grove.codec.runtime import Codec
from grove.codec.tokens.lanes import RowMaker, encode_jobs
from grove.codec.tokens.plan import PLAN, ShardSlice, read_slice
from grove.codec.tokens.records import (
    CodecCard,
    FileEntry,
    Format,
    LedgerEntry,
    Row,
    RunFile,
    ShardRecord,
    TokensError,
    shard_stem,
)
from grove.codec.tokens.shard_files import file_names, open_shard
from grove.codec.tokens.sources import jobs_of

RECORDS = "records"
_HASH_BYTES = 1 << 20

Watch = Callable[[Row], None]


class ShardTask(Frozen):
    """What a worker needs to make a shard, wherever it runs."""

    folder: Path
    model: Path
    run: RunFile
    number: int
    offset_bytes: int
    items: int


def run_shard(task: ShardTask, watch: Watch | None = None) -> ShardRecord:
    """Make a shard, unless it is there; a shard that was made twice has the same bytes."""
    done = read_record(task.folder, task.number)
    if done is not None and is_present(task.folder, done):
        return done
    stem = shard_stem(task.number)
    card, settings = task.run.card, task.run.settings
    remove_parts(task.folder, (*file_names(settings.format, stem), f"{RECORDS}/{stem}.json"))
    codec = _codec(task.model)
    if codec.spec != card.codec:
        raise ModelMismatchError(
            f"{task.folder} was begun with model {card.codec.model_sha256[:12]}, "
            f"{task.model} is {codec.spec.model_sha256[:12]}"
        )
    here = CodecCard.of(codec.bundle, card.levels, settings.canonical)
    if here != card:
        raise ModelMismatchError(
            f"{task.folder} was begun with {card.resampler}, {card.arithmetic}; "
            f"this worker has {here.resampler}, {here.arithmetic}",
            hint="run it on machines alike, or tokenize with --canonical",
        )
    items = read_slice(task.folder / PLAN, ShardSlice(task.number, task.offset_bytes, task.items))
    encoder = _canonical(task.model) if settings.canonical else None
    rows = encode_jobs(codec, jobs_of(items), RowMaker(card, settings), encoder)
    tally = Tally(task.number)
    with open_shard(settings.format, task.folder, stem, card) as sink:
        for row in tally.counted(rows):
            sink.write(row)
            if watch is not None:
                watch(row)
    return tally.record(task.folder, settings.format)


class Tally:
    """Counts the rows of a shard on their way, and refuses ids that come twice."""

    def __init__(self, number: int, known: tuple[LedgerEntry, ...] | None = None) -> None:
        """`known` is the ledger of rows that were read before; their errors are in it already."""
        self._number = number
        self._knows = known is not None
        self._keys: set[str] = set()
        self._rows = self._frames = self._samples = 0
        self._ledger: list[LedgerEntry] = list(known or ())

    def counted(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Yield the rows that a shard may hold; those that may not go to the ledger only."""
        for row in rows:
            meta = row.meta
            error = None if self._knows else meta.error
            is_again = row.key in self._keys
            if is_again:
                error = "its id came before in this shard; the row is left out"
            if error is not None:
                entry = LedgerEntry(
                    id=meta.id,
                    source_uri=meta.source_uri,
                    n_frames=0 if is_again else meta.n_frames,
                    error=error,
                )
                self._ledger.append(entry)
            if is_again:
                continue
            self._keys.add(row.key)
            self._rows += 1
            self._frames += meta.n_frames
            self._samples += meta.num_samples
            yield row

    def record(self, folder: Path, format: Format) -> ShardRecord:  # noqa: A002 - the option's name
        """Write the record of a shard whose files are in place."""
        stem = shard_stem(self._number)
        record = ShardRecord(
            number=self._number,
            files=tuple(file_entry(folder, name) for name in file_names(format, stem)),
            rows=self._rows,
            frames=self._frames,
            samples=self._samples,
            ledger=tuple(self._ledger),
        )
        (folder / RECORDS).mkdir(exist_ok=True)
        with atomic_file(_record_path(folder, self._number), overwrite=True) as file:
            file.write(record.model_dump_json().encode() + b"\n")
        return record


def read_record(folder: Path, number: int) -> ShardRecord | None:
    """Return the record of a finished shard; None if there is none."""
    path = _record_path(folder, number)
    try:
        return ShardRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise TokensError(
            f"{path} cannot be read: {error}", hint="remove it, and --resume makes the shard again"
        ) from error


def is_present(folder: Path, record: ShardRecord) -> bool:
    """Say whether the files of a shard are there in their sizes; `verify` reads them too."""
    with suppress(OSError):
        return all(
            (folder / entry.name).stat().st_size == entry.size_bytes for entry in record.files
        )
    return False


def file_entry(folder: Path, name: str) -> FileEntry:
    """Return the size and hash of a file."""
    digest, size = hashlib.sha256(), 0
    with (folder / name).open("rb") as file:
        while data := file.read(_HASH_BYTES):
            digest.update(data)
            size += len(data)
    return FileEntry(name=name, size_bytes=size, sha256=digest.hexdigest())


def _record_path(folder: Path, number: int) -> Path:
    return folder / RECORDS / f"{shard_stem(number)}.json"


def remove_parts(folder: Path, names: Iterable[str]) -> None:
    """Remove what a run that was killed left half-written of some files."""
    paths = {folder / name for name in names}
    for place in {path.parent for path in paths}:
        for part in place.glob(".*.part"):
            if part.with_name(part.name[1:].rsplit(".", 2)[0]) in paths:
                part.unlink(missing_ok=True)


@lru_cache(maxsize=1)
def _canonical(model: Path) -> CanonicalEncoder:
    return CanonicalEncoder(_codec(model).bundle)


@lru_cache(maxsize=1)
def _codec(model: Path) -> Codec:
    """Load the model once per process; one thread, since there is a process for every core."""
    return Codec(load_bundle(model), threads=1)
