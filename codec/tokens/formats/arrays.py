"""Bare arrays with an index beside them: one .npy to map into memory, or .safetensors.

Both put a header with all sizes before the data, so the header is written last, into a gap or in
front of a spool; the libraries for them want all data in memory.
"""

import json
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfileobj
from typing import BinaryIO, Final

import numpy as np

from grove.codec.atomic import atomic_file
from grove.codec.tokens.formats.lines import index_line, read_index
from grove.codec.tokens.records import CodecCard, Row, TokensError

_NPY_HEADER_BYTES: Final = 128
_LENGTH: Final = struct.Struct("<Q")
_MOST_HEADER_BYTES: Final = 100_000_000


class NpySink:
    """The frames of all rows behind each other, uint16 [sum of n_frames, n_books]."""

    def __init__(self, data: BinaryIO, index: BinaryIO, books: int) -> None:
        self._data, self._index, self._books = data, index, books
        self._frames = 0
        data.write(bytes(_NPY_HEADER_BYTES))

    def write(self, row: Row) -> None:
        self._data.write(row.codes.astype("<u2").tobytes())
        self._index.write(index_line(row))
        self._frames += len(row.codes)

    def finish(self) -> None:
        shape = f"({self._frames}, {self._books})"
        header = f"{{'descr': '<u2', 'fortran_order': False, 'shape': {shape}, }}"
        start = b"\x93NUMPY\x01\x00" + struct.pack("<H", _NPY_HEADER_BYTES - 10)
        self._data.seek(0)
        self._data.write(start + header.ljust(_NPY_HEADER_BYTES - 11).encode() + b"\n")


@contextmanager
def write_npy(folder: Path, stem: str, card: CodecCard) -> Iterator[NpySink]:
    with (
        atomic_file(folder / f"{stem}.npy", overwrite=True) as data,
        atomic_file(folder / f"{stem}.jsonl", overwrite=True) as index,
    ):
        sink = NpySink(data, index, card.books)
        yield sink
        sink.finish()


def read_npy(folder: Path, stem: str, card: CodecCard) -> Iterator[Row]:
    path = folder / f"{stem}.npy"
    try:
        frames = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise TokensError(f"{path} is no array: {error}") from error
    at = 0
    for meta in read_index(folder / f"{stem}.jsonl"):
        codes = np.array(frames[at : at + meta.n_frames], np.uint16)
        if codes.shape != (meta.n_frames, card.books):
            raise TokensError(
                f"{path} has {codes.shape} at row {meta.id}, expected {(meta.n_frames, card.books)}"
            )
        at += meta.n_frames
        yield Row(meta, codes)


class SafetensorsSink:
    """A tensor a row, uint16 [n_frames, n_books], named by the row's key."""

    def __init__(self, spool: BinaryIO, index: BinaryIO, card: CodecCard) -> None:
        self._spool, self._index = spool, index
        self._at = 0
        self._tensors: dict[str, object] = {
            "__metadata__": {"grove": card.model_dump_json(), "format": "np"}
        }

    def write(self, row: Row) -> None:
        data = row.codes.astype("<u2").tobytes()
        self._tensors[row.key] = {
            "dtype": "U16",
            "shape": row.codes.shape,
            "data_offsets": (self._at, self._at + len(data)),
        }
        self._at += len(data)
        self._spool.write(data)
        self._index.write(index_line(row))

    def finish(self, file: BinaryIO) -> None:
        header = json.dumps(self._tensors, separators=(",", ":")).encode()
        header += b" " * (-len(header) % 8)
        file.write(_LENGTH.pack(len(header)) + header)
        self._spool.seek(0)
        copyfileobj(self._spool, file)


@contextmanager
def write_safetensors(folder: Path, stem: str, card: CodecCard) -> Iterator[SafetensorsSink]:
    with (
        atomic_file(folder / f"{stem}.safetensors", overwrite=True) as file,
        atomic_file(folder / f"{stem}.jsonl", overwrite=True) as index,
        tempfile.TemporaryFile(dir=folder) as spool,
    ):
        sink = SafetensorsSink(spool, index, card)
        yield sink
        sink.finish(file)


def read_safetensors(folder: Path, stem: str, card: CodecCard) -> Iterator[Row]:
    path = folder / f"{stem}.safetensors"
    with path.open("rb") as file:
        (length,) = _LENGTH.unpack(file.read(_LENGTH.size).ljust(_LENGTH.size, b"\xff"))
        if length > _MOST_HEADER_BYTES:
            raise TokensError(f"{path} has a header of {length} bytes, expected a safetensors file")
        try:
            tensors = json.loads(file.read(length))
        except ValueError as error:
            raise TokensError(f"{path} has a header that is not JSON: {error}") from error
        start = _LENGTH.size + length
        for meta in read_index(folder / f"{stem}.jsonl"):
            key = Row(meta, np.zeros((0, card.books), np.uint16)).key
            if key not in tensors:
                raise TokensError(f"{path} has no tensor {key}")
            first, last = tensors[key]["data_offsets"]
            file.seek(start + first)
            data = file.read(last - first)
            if len(data) != 2 * meta.n_frames * card.books:
                raise TokensError(
                    f"{path}: tensor {key} has {len(data)} bytes, "
                    f"expected {2 * meta.n_frames * card.books}"
                )
            codes = np.frombuffer(data, "<u2").astype(np.uint16)
            yield Row(meta, codes.reshape(meta.n_frames, card.books))
