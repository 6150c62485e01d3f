"""Tars in the manner of WebDataset: a sample is KEY.json with KEY.npy, or with KEY.grv."""

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from grove.codec.arrays import U16
from grove.codec.atomic import atomic_file
from grove.codec.container.assembler import Block
from grove.codec.container.file import ContainerReader
from grove.codec.container.header import ContainerHeader
from grove.codec.container.writer import ContainerWriter
from grove.codec.errors import BitstreamError
from grove.codec.stream import widened
from grove.codec.tokens.records import CodecCard, Row, RowMeta, TokensError


def tar_key(key: str) -> str:
    """Return a key without dots: WebDataset takes what follows the first one for the extension."""
    folder, slash, name = key.replace("%", "%25").replace(".", "%2E").rpartition("/")
    if not name:
        return f"{folder}%2F"
    # What begins like that is hidden from Hugging Face datasets.
    return f"{folder}{slash}{name.replace('__', '%5F%5F', 1) if name.startswith('__') else name}"


class TarSink:
    """Writes two members a row, also of a row without frames: readers want samples alike."""

    def __init__(self, archive: tarfile.TarFile, card: CodecCard, as_grv: bool) -> None:
        self._archive, self._card, self._as_grv = archive, card, as_grv

    def write(self, row: Row) -> None:
        key = tar_key(row.key)
        columns = json.dumps(row.meta.to_columns(), separators=(",", ":"))
        add_member(self._archive, f"{key}.json", columns.encode())
        if self._as_grv:
            add_member(self._archive, f"{key}.grv", _container(row, self._card))
        else:
            out = io.BytesIO()
            np.save(out, row.codes, allow_pickle=False)
            add_member(self._archive, f"{key}.npy", out.getvalue())


def add_member(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    """Put a file into a tar, the same bytes whenever and by whomever it is done."""
    member = tarfile.TarInfo(name)  # its time is 0, its owner nobody
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


@contextmanager
def write_tar(folder: Path, stem: str, card: CodecCard, as_grv: bool) -> Iterator[TarSink]:
    with (
        atomic_file(folder / f"{stem}.tar", overwrite=True) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        yield TarSink(archive, card, as_grv)


def read_tar(folder: Path, stem: str, card: CodecCard) -> Iterator[Row]:
    path = folder / f"{stem}.tar"
    waiting: RowMeta | None = None
    try:
        with tarfile.open(path, mode="r|") as archive:
            for member in archive:
                content = archive.extractfile(member)
                assert content is not None, f"{path} holds files only"
                if member.name.endswith(".json"):
                    if waiting is not None:
                        yield _row(waiting, None, card, path)
                    waiting = RowMeta.model_validate_json(content.read())
                elif waiting is not None:
                    yield _row(waiting, _codes(member.name, content.read(), card), card, path)
                    waiting = None
    except (tarfile.TarError, ValidationError, ValueError, BitstreamError) as error:
        raise TokensError(f"{path} is no shard: {error}") from error
    if waiting is not None:
        yield _row(waiting, None, card, path)


def _row(meta: RowMeta, codes: U16 | None, card: CodecCard, path: Path) -> Row:
    found = np.zeros((0, card.books), np.uint16) if codes is None else codes
    if found.shape != (meta.n_frames, card.books):
        raise TokensError(
            f"{path}: {meta.id} has codes {found.shape}, expected {(meta.n_frames, card.books)}"
        )
    return Row(meta, found)


def _codes(name: str, data: bytes, card: CodecCard) -> U16:
    if name.endswith(".npy"):
        loaded: U16 = np.load(io.BytesIO(data), allow_pickle=False)
        return loaded
    blocks = [np.zeros((0, len(card.codec.code_sizes)), np.uint16)]
    for event in ContainerReader(io.BytesIO(data)).events():
        if isinstance(event, Block):
            blocks.append(event.codes[0])
    return np.concatenate(blocks)[:, : card.books]


def _container(row: Row, card: CodecCard) -> bytes:
    """Return a .grv file; its tags say what the row says of the source."""
    out = io.BytesIO()
    meta, spec = row.meta, card.codec
    tags = {"id": meta.id, "source_sha256": meta.source_sha256, "resampler": meta.resampler}
    # What could not be opened has neither; a container needs both, and holds nothing.
    source_rate_hz = meta.sample_rate_hz or spec.sample_rate_hz
    header = ContainerHeader(
        codec=spec,
        source_sample_rate_hz=source_rate_hz,
        source_channels=meta.channels or 1,
        tags={key: value[:512] for key, value in tags.items() if value.isprintable()},
    )
    writer = ContainerWriter(out, header)
    writer.write(widened(spec, row.codes), card.levels)
    # A part that does not begin its source decodes from silence, and so loses the delay again.
    samples = min(meta.num_samples, spec.decodable_samples(len(row.codes)))
    source_samples = -(-samples * source_rate_hz // spec.sample_rate_hz)
    is_whole = samples == meta.num_samples
    exact = round(meta.duration_s * source_rate_hz)
    writer.close(samples, exact if is_whole else source_samples)
    return out.getvalue()
