"""The files of a shard: written whole or not at all, read row by row. One format, one pair here."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, assert_never

from grove.codec.tokens.formats.arrays import (
    read_npy,
    read_safetensors,
    write_npy,
    write_safetensors,
)
from grove.codec.tokens.formats.kaldi import read_kaldi, write_kaldi
from grove.codec.tokens.formats.lines import read_jsonl, write_jsonl
from grove.codec.tokens.formats.parquet import read_parquet, write_parquet
from grove.codec.tokens.formats.shar import read_shar, shar_names, write_shar
from grove.codec.tokens.formats.tar import read_tar, write_tar
from grove.codec.tokens.records import CodecCard, Format, Row


class RowSink(Protocol):
    """Takes rows in order."""

    def write(self, row: Row) -> None: ...


def open_shard(  # noqa: PLR0911 - one for each format
    format: Format,  # noqa: A002 - the option's name
    folder: Path,
    stem: str,
    card: CodecCard,
) -> AbstractContextManager[RowSink]:
    """Open a shard for writing; its files appear when the block ends well."""
    match format:
        case "parquet":
            return write_parquet(folder, stem, card)
        case "webdataset" | "grv":
            return write_tar(folder, stem, card, as_grv=format == "grv")
        case "npy":
            return write_npy(folder, stem, card)
        case "safetensors":
            return write_safetensors(folder, stem, card)
        case "kaldi":
            return write_kaldi(folder, stem, card)
        case "shar":
            return write_shar(folder, stem, card)
        case "jsonl":
            return write_jsonl(folder, stem, card)
        case _:
            assert_never(format)


def read_shard(  # noqa: PLR0911 - one for each format
    format: Format,  # noqa: A002 - the option's name
    folder: Path,
    stem: str,
    card: CodecCard,
) -> Iterator[Row]:
    """Yield the rows of a shard."""
    match format:
        case "parquet":
            return read_parquet(folder, stem, card)
        case "webdataset" | "grv":
            return read_tar(folder, stem, card)
        case "npy":
            return read_npy(folder, stem, card)
        case "safetensors":
            return read_safetensors(folder, stem, card)
        case "kaldi":
            return read_kaldi(folder, stem, card)
        case "shar":
            return read_shar(folder, stem, card)
        case "jsonl":
            return read_jsonl(folder, stem)
        case _:
            assert_never(format)


def file_names(format: Format, stem: str) -> tuple[str, ...]:  # noqa: A002 - the option's name
    """Return the files that make a shard."""
    match format:
        case "parquet":
            return (f"{stem}.parquet",)
        case "webdataset" | "grv":
            return (f"{stem}.tar",)
        case "npy" | "safetensors":
            return (f"{stem}.{format}", f"{stem}.jsonl")
        case "kaldi":
            return (f"{stem}.ark", f"{stem}.scp", f"{stem}.jsonl")
        case "shar":
            return (*shar_names(stem), f"{stem}.jsonl")
        case "jsonl":
            return (f"{stem}.jsonl",)
        case _:
            assert_never(format)
