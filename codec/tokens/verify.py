"""`grove tokens verify`: every hash, every count and every code of a folder."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from grove.codec.errors import CodecError
from grove.codec.tokens.reading import TokenFolder
from grove.codec.tokens.records import CodecCard, Manifest, Row, ShardRecord
from grove.codec.tokens.run import LEDGER, MANIFEST
from grove.codec.tokens.shards import file_entry, read_record


def problems_of(folder: TokenFolder) -> Iterator[str]:
    """Yield everything that is wrong, in a line each."""
    rows = frames = samples = errors = 0
    complete = True
    for number in range(folder.run.shards):
        try:
            record = read_record(folder.path, number)
        except CodecError as error:
            yield str(error)
            complete = False
            continue
        if record is None:
            yield f"shard {number} of {folder.run.shards} is missing"
            complete = False
            continue
        yield from _shard_problems(folder, record)
        rows, frames = rows + record.rows, frames + record.frames
        samples, errors = samples + record.samples, errors + len(record.ledger)
    if not complete:
        return
    try:
        manifest = Manifest.model_validate_json((folder.path / MANIFEST).read_bytes())
    except (OSError, ValidationError) as error:
        yield f"{MANIFEST} cannot be read: {error}"
        return
    said = (manifest.rows, manifest.frames, manifest.samples, manifest.errors)
    if said != (rows, frames, samples, errors):
        yield f"{MANIFEST} counts {said}, the shards {(rows, frames, samples, errors)}"
    if manifest.card != folder.run.card:
        yield f"{MANIFEST} has another codec card than run.json"
    yield from _ledger_problems(folder.path, manifest)


def _ledger_problems(path: Path, manifest: Manifest) -> Iterator[str]:
    try:
        digest = hashlib.sha256((path / LEDGER).read_bytes()).hexdigest()
    except OSError as error:
        yield f"{LEDGER} cannot be read: {error.strerror}"
        return
    if digest != manifest.ledger_sha256:
        yield f"{LEDGER} has sha256 {digest[:12]}, {MANIFEST} says {manifest.ledger_sha256[:12]}"


def _shard_problems(folder: TokenFolder, record: ShardRecord) -> Iterator[str]:
    whole = True
    for entry in record.files:
        try:
            found = file_entry(folder.path, entry.name)
        except OSError as error:
            yield f"{entry.name} cannot be read: {error.strerror}"
            whole = False
            continue
        if found != entry:
            yield (
                f"{entry.name} has {found.size_bytes} bytes and sha256 {found.sha256[:12]}, "
                f"its record says {entry.size_bytes} and {entry.sha256[:12]}"
            )
            whole = False
    if whole:
        yield from _row_problems(folder, record)


def _row_problems(folder: TokenFolder, record: ShardRecord) -> Iterator[str]:
    checker = _RowChecker(folder.run.card)
    frames = 0
    try:
        for row in folder.shard_rows(record.number):
            frames += row.meta.n_frames
            yield from checker.problems(row)
    except CodecError as error:
        yield str(error)
        return
    if frames != record.frames:
        yield f"shard {record.number} has {frames} frames, its record says {record.frames}"


class _RowChecker:
    """Laws of a row; a source in several parts is one source."""

    def __init__(self, card: CodecCard) -> None:
        self._card = card
        self._sizes = np.array(card.codec.code_sizes[: card.books])
        self._id, self._frames, self._samples = "", 0, 0

    def problems(self, row: Row) -> Iterator[str]:
        meta, spec = row.meta, self._card.codec
        if meta.codec_sha256 != spec.model_sha256:
            yield f"{row.key} was made by model {meta.codec_sha256[:12]}"
        if row.codes.shape != (meta.n_frames, self._card.books):
            yield f"{row.key} has codes {row.codes.shape}, its columns say {meta.n_frames} frames"
        elif (row.codes >= self._sizes).any():
            yield f"{row.key} has codes beyond their books"
        if meta.part == 0:
            self._id, self._frames, self._samples = meta.id, 0, 0
        elif meta.id != self._id:
            yield f"{row.key} does not follow part {meta.part - 1} of its source"
        self._frames += meta.n_frames
        self._samples += meta.num_samples
        wanted = spec.frames_for(self._samples)
        if self._frames != wanted:
            yield f"{meta.id} has {self._frames} frames, {self._samples} samples make {wanted}"
