"""Lists of training audio: a folder, a csv or parquet manifest, or tar shards, as one listing."""

import csv
import fnmatch
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from grove.codec.errors import CodecError

Kind = Literal["speech", "music", "noise"]
KINDS: tuple[Kind, ...] = get_args(Kind)

AUDIO_SUFFIXES = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".w64", ".caf", ".au"}
)
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class DataError(CodecError):
    """Training data that cannot be listed, cached or drawn from."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One recording, before it is decoded. Unknown: seconds and native_rate 0."""

    file: str
    source: str
    speaker: str
    kind: Kind = "speech"
    native_rate: int = 0
    seconds: float = 0.0
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Shard:
    """Recordings read together: from `tar`, or from files under the root where it is None.

    `entries` is None where a tar has no manifest: whatever audio it holds.
    """

    name: str
    tar: Path | None
    entries: tuple[Entry, ...] | None


@dataclass(frozen=True, slots=True)
class Listing:
    """All recordings of a data set."""

    root: Path
    shards: tuple[Shard, ...]

    def of_rank(self, rank: int, world: int) -> "Listing":
        """Return every `world`-th shard; loose files are dealt out one by one."""
        tars = [shard for shard in self.shards if shard.tar is not None]
        mine = tars[rank::world]
        for shard in self.shards:
            if shard.tar is None and shard.entries:
                mine.append(Shard(shard.name, None, shard.entries[rank::world]))
        return Listing(self.root, tuple(mine))

    def digest(self, sample_rate_hz: int) -> str:
        """Return a hash that changes with the listing, the files' sizes or times, or the rate."""
        digest = hashlib.sha256(f"cache 1 at {sample_rate_hz} Hz\n".encode())
        for line in self._identities():
            digest.update(json.dumps(line).encode() + b"\n")
        return digest.hexdigest()

    def _identities(self) -> Iterator[tuple[object, ...]]:
        for shard in self.shards:
            if shard.tar is not None:
                yield (shard.name, *_stamp(shard.tar))
            for entry in shard.entries or ():
                stamp = _stamp(self.root / entry.file) if shard.tar is None else ()
                yield (entry.file, entry.source, entry.speaker, entry.kind)
                yield (entry.native_rate, entry.seconds, *stamp)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return (-1, -1)  # read later, and then reported as a bad file
    return (stat.st_size, stat.st_mtime_ns)


def list_audio(source: Path, shards: Sequence[str] = (), root: Path | None = None) -> Listing:
    """List `source`: a folder, a manifest or a tar, only shards whose names match a pattern.

    Patterns choose among the shards of the corpus that a recipe was written for. Where no shard
    has such a name, loose files are taken, and a folder or tar of other names whole; a manifest
    that names other shards is refused.

    A manifest's files lie under `root` (the manifest's own folder if None), or in the tars that
    its shard column names there.
    """
    if source.is_dir():
        listing = _list_folder(source)
    elif source.suffix in (".csv", ".parquet"):
        listing = _list_manifest(source, root or source.parent)
    elif source.is_file() and source.name.endswith(TAR_SUFFIXES):
        listing = Listing(source.parent, (Shard(source.name, source, None),))
    else:
        raise DataError(
            f"data source {source} is neither a folder, a .csv or .parquet manifest, nor a tar"
        )
    kept = _chosen(listing, shards, is_manifest=source.suffix in (".csv", ".parquet"))
    if not kept:
        names = ", ".join(sorted(s.name for s in listing.shards)) or "no audio"
        raise DataError(f"{source} has no shard matching {list(shards)}; it has {names}")
    return Listing(listing.root, kept)


def _chosen(listing: Listing, patterns: Sequence[str], is_manifest: bool) -> tuple[Shard, ...]:
    if not patterns:
        return listing.shards
    named = tuple(shard for shard in listing.shards if _matches(shard.name, patterns))
    loose = tuple(shard for shard in listing.shards if not shard.name)
    return named or loose or (() if is_manifest else listing.shards)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


# --- folders ----------------------------------------------------------------------------


def _list_folder(folder: Path) -> Listing:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    tars = [path for path in files if path.name.endswith(TAR_SUFFIXES)]
    loose = [path for path in files if path.suffix.lower() in AUDIO_SUFFIXES]
    shards = [Shard(path.relative_to(folder).as_posix(), path, None) for path in tars]
    if loose:
        entries = tuple(entry_of_path(path.relative_to(folder).as_posix()) for path in loose)
        shards.append(Shard("", None, entries))
    return Listing(folder, tuple(shards))


def entry_of_path(file: str) -> Entry:
    """Guess from `[kind/]source/speaker/…/file`, as most corpora are laid out."""
    folders = list(PurePosixPath(file).parts[:-1])
    kind: Kind = "speech"
    for known in KINDS:
        if folders and folders[0].lower() == known:
            kind = known
            folders.pop(0)
    source = folders[0] if folders else "folder"
    speaker = folders[1] if len(folders) > 1 else source
    return Entry(file=file, source=source, speaker=speaker, kind=kind)


# --- manifests --------------------------------------------------------------------------


def _list_manifest(path: Path, root: Path) -> Listing:
    rows = _read_csv(path) if path.suffix == ".csv" else _read_parquet(path)
    by_shard: dict[str, dict[str, Entry]] = {}
    for number, row in enumerate(rows, start=1):
        entry = _entry_of_row(row, f"{path} row {number}")
        files = by_shard.setdefault(_text(row, "shard"), {})
        if entry.file in files:
            raise DataError(f"{path} row {number}: {entry.file} is listed twice")
        files[entry.file] = entry
    shards = (_shard(root, name, tuple(files.values())) for name, files in by_shard.items())
    return Listing(root, tuple(shards))


def _shard(root: Path, name: str, entries: tuple[Entry, ...]) -> Shard:
    """Prefer unpacked files over the tar they came in."""
    packed = name.endswith(TAR_SUFFIXES) and not (root / entries[0].file).exists()
    return Shard(name, root / name if packed else None, entries)


def _read_csv(path: Path) -> Iterator[Mapping[str, object]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            _check_columns(path, reader.fieldnames or ())
            yield from reader
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read manifest {path}: {error}") from error


def _read_parquet(path: Path) -> Iterator[Mapping[str, object]]:
    try:
        with pq.ParquetFile(path) as table:
            _check_columns(path, table.schema_arrow.names)
            for batch in table.iter_batches():
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot read manifest {path}: {error}") from error


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    if "file" not in columns:
        raise DataError(f"manifest {path} has columns {list(columns)}, expected one named file")


def _entry_of_row(row: Mapping[str, object], where: str) -> Entry:
    file = _text(row, "file")
    if not file:
        raise DataError(f"{where}: column file is empty")
    guess = entry_of_path(file)
    kind = _text(row, "kind") or guess.kind
    if kind not in KINDS:
        raise DataError(f"{where}: kind is {kind!r}, expected one of {', '.join(KINDS)}")
    source = _text(row, "source") or guess.source
    return Entry(
        file=file,
        source=source,
        speaker=_text(row, "speaker") or guess.speaker,
        kind=next(known for known in KINDS if known == kind),
        native_rate=int(_number(row, "native_rate", where)),
        seconds=_number(row, "seconds", where),
        licence=_text(row, "licence"),
    )


def _text(row: Mapping[str, object], column: str) -> str:
    value = row.get(column)
    return "" if value is None else str(value).strip()


def _number(row: Mapping[str, object], column: str, where: str) -> float:
    text = _text(row, column)
    try:
        value = float(text or 0)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise DataError(f"{where}: {column} is {text!r}, expected a number of 0 or more")
    return value
