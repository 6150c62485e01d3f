"""JSON Lines: rows with their codes, and the index that formats of bare arrays have beside them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydantic import ValidationError

from grove.codec.atomic import atomic_file
from grove.codec.tokens.records import CodecCard, Row, RowMeta, TokensError


class JsonlSink:
    """Writes a row a line: the columns, and `codes` as a list of frames."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, row: Row) -> None:
        self._file.write(_json_line(row.meta.to_columns() | {"codes": row.codes.tolist()}))


@contextmanager
def write_jsonl(folder: Path, stem: str, card: CodecCard) -> Iterator[JsonlSink]:  # noqa: ARG001
    with atomic_file(folder / f"{stem}.jsonl", overwrite=True) as file:
        yield JsonlSink(file)


def read_jsonl(folder: Path, stem: str) -> Iterator[Row]:
    path = folder / f"{stem}.jsonl"
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                record = json.loads(line)
                codes = np.array(record.pop("codes"), np.uint16)
                meta = RowMeta.model_validate(record)
                yield Row(meta, codes.reshape(meta.n_frames, meta.n_books))
            except (ValueError, KeyError, AttributeError) as error:
                raise TokensError(f"{path} line {number} is no row: {error}") from error


def index_line(row: Row) -> bytes:
    """Return the columns of a row as a line of an index."""
    return _json_line(row.meta.to_columns())


def _json_line(record: dict[str, object]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def read_index(path: Path) -> Iterator[RowMeta]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield RowMeta.model_validate_json(line)
            except ValidationError as error:
                raise TokensError(f"{path} line {number} is no row: {error}") from error
