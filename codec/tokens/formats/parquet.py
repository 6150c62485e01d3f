"""Parquet: a row a source, codes as one list<uint16>, frame after frame; zstd over dictionaries."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from grove.codec.atomic import atomic_file
from grove.codec.tokens.extras import pyarrow, pyarrow_parquet
from grove.codec.tokens.records import CodecCard, Row, RowMeta, TokensError

CARD_KEY: Final = b"grove.codec"
_GROUP_FRAMES: Final = 25_000
_GROUP_ROWS: Final = 4_096
_READ_ROWS: Final = 64


class ParquetSink:
    """Gathers rows to row groups of bounded size."""

    def __init__(self, writer: Any, schema: Any) -> None:  # noqa: ANN401 - pyarrow has no types
        self._writer, self._schema = writer, schema
        self._rows: list[Row] = []
        self._frames = 0

    def write(self, row: Row) -> None:
        self._rows.append(row)
        self._frames += len(row.codes)
        if self._frames >= _GROUP_FRAMES or len(self._rows) == _GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        if not self._rows:
            return
        pa = pyarrow()
        ends = np.cumsum([0, *(row.codes.size for row in self._rows)], dtype=np.int32)
        values = np.concatenate([row.codes.ravel() for row in self._rows])
        columns = [
            pa.ListArray.from_arrays(pa.array(ends), pa.array(values, pa.uint16()))
            if field.name == "codes"
            else pa.array([getattr(row.meta, field.name) for row in self._rows], field.type)
            for field in self._schema
        ]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        self._rows, self._frames = [], 0


@contextmanager
def write_parquet(folder: Path, stem: str, card: CodecCard) -> Iterator[ParquetSink]:
    schema = _schema(card)
    with (
        atomic_file(folder / f"{stem}.parquet", overwrite=True) as file,
        pyarrow_parquet().ParquetWriter(
            file, schema, compression="zstd", use_dictionary=True
        ) as writer,
    ):
        sink = ParquetSink(writer, schema)
        yield sink
        sink.flush()


def read_parquet(folder: Path, stem: str, card: CodecCard) -> Iterator[Row]:
    path = folder / f"{stem}.parquet"
    pa = pyarrow()
    try:
        with pyarrow_parquet().ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=_READ_ROWS):
                yield from _rows(batch, card)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise TokensError(f"{path} is no shard: {error}") from error


def _rows(batch: Any, card: CodecCard) -> Iterator[Row]:  # noqa: ANN401 - pyarrow has no types
    codes = batch.column("codes")
    plain = batch.drop_columns(["codes"]).to_pylist()
    for index, record in enumerate(plain):
        meta = RowMeta.model_validate(record)
        values = codes[index].values.to_numpy(zero_copy_only=False)
        yield Row(meta, values.astype(np.uint16).reshape(meta.n_frames, card.books))


def _schema(card: CodecCard) -> Any:  # noqa: ANN401 - pyarrow has no types
    pa = pyarrow()
    text, count, seconds = pa.string(), pa.int32(), pa.float64()
    return pa.schema(
        [
            ("id", text),
            ("part", count),
            ("codes", pa.list_(pa.uint16())),
            ("n_frames", count),
            ("n_books", count),
            ("num_samples", pa.int64()),
            ("sample_rate_hz", count),
            ("channels", count),
            ("start_s", seconds),
            ("duration_s", seconds),
            ("source_uri", text),
            ("source_sha256", text),
            ("codec", text),
            ("codec_sha256", text),
            ("resampler", text),
            ("error", text),
        ],
        metadata={CARD_KEY: card.model_dump_json().encode()},
    )
