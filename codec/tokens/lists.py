"""Lists of audio: lines, tables and Parquet, with ids and pieces where they have columns for it."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from grove.codec.tokens.extras import pyarrow_parquet
from grove.codec.tokens.plan import FileItem, TarItem
from grove.codec.tokens.records import TokensError
from grove.codec.tokens.stores import absolute, is_remote

LIST_SUFFIXES = (".txt", ".lst", ".csv", ".tsv", ".scp", ".jsonl", ".json", ".parquet")
_PATH = ("path", "file", "audio_filepath", "audio_path", "audio", "uri", "wav")
_ID = ("id", "utt_id", "key")
_START = ("start", "start_s", "offset")
_END = ("end", "end_s")
_DURATION = ("duration", "duration_s")


def items_of_list(path: Path) -> Iterator[FileItem | TarItem]:
    """Yield the sources that a list names; its relative paths start in its folder."""
    try:
        match path.suffix.lower():
            case ".parquet":
                yield from _of_parquet(path)
            case ".csv" | ".tsv":
                with path.open(newline="", encoding="utf-8-sig") as file:
                    yield from _of_table(file, path)
            case ".jsonl" | ".json":
                with path.open(encoding="utf-8") as file:
                    yield from _of_json_lines(file, path)
            case ".scp":
                with path.open(encoding="utf-8") as file:
                    yield from _of_scp(file, path)
            case _:
                with path.open(encoding="utf-8") as file:
                    yield from items_of_lines(file, path.parent)
    except (OSError, UnicodeDecodeError) as error:
        raise TokensError(f"{path}: cannot be read: {error}") from error


def items_of_lines(lines: Iterable[str], folder: Path) -> Iterator[FileItem | TarItem]:
    """Yield one source a line; blank lines and lines that start with # are passed over."""
    for line in lines:
        name = line.strip()
        if name and not name.startswith("#"):
            yield _of_record({"path": name}, folder, "the list")


def _of_table(file: Iterable[str], path: Path) -> Iterator[FileItem | TarItem]:
    table = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    for row in table:
        yield _of_record(row, path.parent, f"{path} line {table.line_num}")


def _of_json_lines(file: Iterable[str], path: Path) -> Iterator[FileItem | TarItem]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise TokensError(f"{path} line {number} is not JSON: {error.msg}") from error
        if not isinstance(record, dict):
            raise TokensError(f"{path} line {number} is {record!r}, expected an object")
        yield _of_record(record, path.parent, f"{path} line {number}")


def _of_scp(file: Iterable[str], path: Path) -> Iterator[FileItem | TarItem]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        key, _, name = line.strip().partition(" ")
        if not name or name.endswith("|"):
            raise TokensError(f"{path} line {number}: expected an id and a path, not a command")
        yield _of_record({"id": key, "path": name.strip()}, path.parent, f"{path} line {number}")


def _of_parquet(path: Path) -> Iterator[FileItem | TarItem]:
    number = 0
    with pyarrow_parquet().ParquetFile(path) as table:
        names = set(table.schema_arrow.names) & {*_PATH, *_ID, *_START, *_END, *_DURATION}
        for batch in table.iter_batches(columns=sorted(names)):
            for row in batch.to_pylist():
                number += 1
                yield _of_record(row, path.parent, f"{path} row {number}")


def _of_record(record: Mapping[str, object], folder: Path, where: str) -> FileItem | TarItem:
    name = _first(record, _PATH)
    if name is None:
        raise TokensError(f"{where} names no audio, expected a column {' or '.join(_PATH)}")
    uri = str(name) if is_remote(str(name)) else absolute(folder / str(name))
    start, end = (_seconds(_first(record, names), where) for names in (_START, _END))
    duration = _seconds(_first(record, _DURATION), where)
    if end is None and duration is not None and start is not None:
        end = start + duration
    start = start or 0.0
    if end is not None and end <= start:
        raise TokensError(f"{where}: the piece ends at {end} s, expected after {start} s")
    given = _first(record, _ID)
    piece = "" if start == 0 and end is None else f"@{start:g}-{'' if end is None else f'{end:g}'}"
    if uri.endswith(".tar"):
        return TarItem(id=str(given or name), uri=uri)
    try:
        item_id = str(given) if given is not None else f"{name}{piece}"
        return FileItem(id=item_id, uri=uri, start_s=start, end_s=end)
    except ValidationError as error:
        raise TokensError(f"{where}: {error.errors()[0]['msg']}") from error


def _first(record: Mapping[str, object], names: tuple[str, ...]) -> object | None:
    return next((record[name] for name in names if record.get(name) not in (None, "")), None)


def _seconds(value: object | None, where: str) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(str(value))
    except ValueError:
        raise TokensError(f"{where}: {value!r} is no number of seconds") from None
    if not 0 <= seconds < float("inf"):
        raise TokensError(f"{where}: {value!r} is no number of seconds from 0 up")
    return seconds
