"""lhotse's Shar: `shar/cuts.NNNNNN.jsonl.gz` with `shar/codes.NNNNNN.tar`; an index of all rows.

Written without lhotse. A folder of its own, since lhotse takes all files beside cuts for fields.
"""

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

import numpy as np

from grove.codec.arrays import U16
from grove.codec.atomic import OutputError, atomic_file
from grove.codec.tokens.formats.lines import index_line, read_index
from grove.codec.tokens.formats.tar import add_member
from grove.codec.tokens.records import CodecCard, Row, TokensError, shard_number

FOLDER: Final = "shar"


def shar_names(stem: str) -> tuple[str, str]:
    """Return the codes and the cuts of a shard, below the folder of tokens."""
    number = shard_number(stem)
    return f"{FOLDER}/codes.{number:06d}.tar", f"{FOLDER}/cuts.{number:06d}.jsonl.gz"


def cut_id(key: str) -> str:
    """Return a key that a path leaves as it is: lhotse compares it with the path of the codes."""
    escaped = key.replace("%", "%25")
    if PurePosixPath(escaped).as_posix() == escaped:
        return escaped
    return escaped.replace("/", "%2F").replace(".", "%2E")


class SharSink:
    """Cuts with their codes; rows without frames are in the index only: a cut has a length."""

    def __init__(
        self, cuts: gzip.GzipFile, codes: tarfile.TarFile, index: BinaryIO, card: CodecCard
    ) -> None:
        self._cuts, self._codes, self._index = cuts, codes, index
        self._spec = card.codec

    def write(self, row: Row) -> None:
        self._index.write(index_line(row))
        if not len(row.codes):
            return
        key = cut_id(row.key)
        data = io.BytesIO()
        np.save(data, row.codes, allow_pickle=False)
        array = self._array(row)
        add_member(self._codes, f"{key}.npy", data.getvalue())
        add_member(self._codes, f"{key}.json", _json_line(array))
        recording = self._recording(key, len(row.codes))
        cut = {
            "id": key,
            "start": 0,
            "duration": recording["duration"],
            "channel": 0,
            "supervisions": [],
            "recording": recording,
            "custom": {"codes": array, "grove": row.meta.model_dump()},
            "type": "MonoCut",
        }
        self._cuts.write(_json_line(cut))

    def _array(self, row: Row) -> dict[str, object]:
        """Return lhotse's description of an array that lies in a Shar, cut along its frames."""
        place = {"storage_type": "shar", "storage_path": "", "storage_key": ""}
        return {
            "array": {**place, "shape": row.codes.shape},
            "temporal_dim": 0,
            "frame_shift": self._spec.hop_samples / self._spec.sample_rate_hz,
            "start": 0,
        }

    def _recording(self, key: str, frames: int) -> dict[str, object]:
        """Return a recording without audio: lhotse cuts and sorts by its rate and duration."""
        samples, rate_hz = frames * self._spec.hop_samples, self._spec.sample_rate_hz
        return {
            "id": key,
            "sources": [{"type": "shar", "channels": [0], "source": ""}],
            "sampling_rate": rate_hz,
            "num_samples": samples,
            "duration": round(samples / rate_hz, 9),
            "channel_ids": [0],
        }


@contextmanager
def write_shar(folder: Path, stem: str, card: CodecCard) -> Iterator[SharSink]:
    codes_name, cuts_name = shar_names(stem)
    try:
        (folder / FOLDER).mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder / FOLDER}: cannot be made: {error.strerror}") from error
    with (
        atomic_file(folder / cuts_name, overwrite=True) as cuts_file,
        atomic_file(folder / codes_name, overwrite=True) as codes_file,
        atomic_file(folder / f"{stem}.jsonl", overwrite=True) as index,
        # No name and no time: else two runs would differ.
        gzip.GzipFile("", "wb", fileobj=cuts_file, mtime=0) as cuts,
        tarfile.open(fileobj=codes_file, mode="w", format=tarfile.PAX_FORMAT) as codes,
    ):
        yield SharSink(cuts, codes, index, card)


def read_shar(folder: Path, stem: str, card: CodecCard) -> Iterator[Row]:
    path = folder / shar_names(stem)[0]
    try:
        with tarfile.open(path, mode="r|") as archive:
            for meta in read_index(folder / f"{stem}.jsonl"):
                row = Row(meta, np.zeros((0, card.books), np.uint16))
                if meta.n_frames:
                    row = Row(meta, _codes(archive, cut_id(row.key), path))
                if row.codes.shape != (meta.n_frames, card.books):
                    raise TokensError(
                        f"{path}: {meta.id} has codes {row.codes.shape}, "
                        f"expected {(meta.n_frames, card.books)}"
                    )
                yield row
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise TokensError(f"{path} is no shard: {error}") from error


def _codes(archive: tarfile.TarFile, key: str, path: Path) -> U16:
    """Return the codes of the next cut."""
    member = archive.next()
    if member is None or member.name != f"{key}.npy":
        found = "its end" if member is None else member.name
        raise TokensError(f"{path} has {found} where {key}.npy is expected")
    content = archive.extractfile(member)
    assert content is not None, f"{path} holds files only"
    codes: U16 = np.load(io.BytesIO(content.read()), allow_pickle=False)
    described = archive.next()
    if described is None or described.name != f"{key}.json":
        raise TokensError(f"{path} has no {key}.json behind the codes")
    return codes


def _json_line(record: dict[str, object]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"
