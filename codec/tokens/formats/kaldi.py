"""Kaldi archives: binary float matrices, which hold every code exactly, with an scp beside them."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import numpy as np

from grove.codec.atomic import atomic_file
from grove.codec.tokens.formats.lines import index_line, read_index
from grove.codec.tokens.records import CodecCard, Row, TokensError

_SHAPE = struct.Struct("<bibi")
_MARK = b"\0BFM "


def kaldi_key(key: str) -> str:
    """Return a key without white space, from which the id can be had back."""
    return quote(key, safe="/#@~:+,=()[]!$&'*;")


class KaldiSink:
    """Matrices [n_frames, n_books]; rows without frames are in the index only."""

    def __init__(self, ark: BinaryIO, scp: BinaryIO, index: BinaryIO, ark_name: str) -> None:
        self._ark, self._scp, self._index = ark, scp, index
        self._ark_name = ark_name

    def write(self, row: Row) -> None:
        self._index.write(index_line(row))
        if not len(row.codes):
            return
        key = kaldi_key(row.key).encode()
        self._ark.write(key + b" ")
        self._scp.write(key + f" {self._ark_name}:{self._ark.tell()}\n".encode())
        self._ark.write(_MARK + _SHAPE.pack(4, len(row.codes), 4, row.codes.shape[1]))
        self._ark.write(row.codes.astype("<f4").tobytes())


@contextmanager
def write_kaldi(folder: Path, stem: str, card: CodecCard) -> Iterator[KaldiSink]:  # noqa: ARG001
    with (
        atomic_file(folder / f"{stem}.ark", overwrite=True) as ark,
        atomic_file(folder / f"{stem}.scp", overwrite=True) as scp,
        atomic_file(folder / f"{stem}.jsonl", overwrite=True) as index,
    ):
        yield KaldiSink(ark, scp, index, f"{stem}.ark")


def read_kaldi(folder: Path, stem: str, card: CodecCard) -> Iterator[Row]:
    path = folder / f"{stem}.ark"
    with path.open("rb") as file:
        for meta in read_index(folder / f"{stem}.jsonl"):
            row = Row(meta, np.zeros((0, card.books), np.uint16))
            if meta.n_frames == 0:
                yield row
                continue
            key = kaldi_key(row.key).encode() + b" "
            head = file.read(len(key) + len(_MARK) + _SHAPE.size)
            wanted = key + _MARK + _SHAPE.pack(4, meta.n_frames, 4, card.books)
            data = file.read(4 * meta.n_frames * card.books)
            if head != wanted or len(data) != 4 * meta.n_frames * card.books:
                raise TokensError(
                    f"{path} does not hold {meta.id} with {meta.n_frames} frames where expected"
                )
            codes = np.frombuffer(data, "<f4").astype(np.uint16)
            yield Row(meta, codes.reshape(meta.n_frames, card.books))
