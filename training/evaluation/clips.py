"""The clips an evaluation runs on: a folder, with or without a manifest of what is in it."""

import csv
import hashlib
from pathlib import Path
from typing import get_args

import numpy as np
import soundfile
import soxr

from grove.codec.arrays import F32
from grove.codec.config import Frozen
from grove.codec.errors import AudioError
from grove.training.evaluation.metrics import SCORING_RATE_HZ, Kind

MANIFEST = "manifest.csv"
SUFFIXES = (".flac", ".wav", ".ogg", ".opus", ".mp3")


class Clip(Frozen):
    """One audio file, and what is known of it."""

    path: Path
    file: str
    kind: Kind
    native_rate_hz: int

    def read(self) -> F32:
        """Return the clip's samples at 24 kHz, its channels mixed to one."""
        samples, rate_hz = soundfile.read(self.path, dtype="float32", always_2d=True)
        mono = samples.mean(axis=1, dtype=np.float32)
        if rate_hz != SCORING_RATE_HZ:
            mono = soxr.resample(mono, rate_hz, SCORING_RATE_HZ)
        if mono.size == 0:
            raise AudioError(f"{self.file} has no samples")
        clipped: F32 = np.clip(mono, -1, 1)
        return clipped


def find_clips(folder: Path, limit: int | None = None) -> tuple[Clip, ...]:
    """Return the folder's clips, or the first `limit` of each kind."""
    clips = _listed(folder) if (folder / MANIFEST).is_file() else _found(folder)
    if not clips:
        raise AudioError(
            f"{folder} has no audio files", hint=f"expected {MANIFEST} or {', '.join(SUFFIXES)}"
        )
    return clips if limit is None else _first_of_each_kind(clips, limit)


def digest(samples: F32) -> str:
    return hashlib.sha256(samples.tobytes()).hexdigest()


def _first_of_each_kind(clips: tuple[Clip, ...], limit: int) -> tuple[Clip, ...]:
    return tuple(
        clip
        for kind in get_args(Kind)
        for clip in [one for one in clips if one.kind == kind][:limit]
    )


def _listed(folder: Path) -> tuple[Clip, ...]:
    with (folder / MANIFEST).open(newline="", encoding="utf-8") as lines:
        return tuple(_clip_of_row(folder, row) for row in csv.DictReader(lines))


def _clip_of_row(folder: Path, row: dict[str, str]) -> Clip:
    file, kind, rate = row.get("file"), row.get("kind"), row.get("native_rate")
    if not file or not (folder / file).is_file():
        raise AudioError(f"{MANIFEST} lists {file!r}, which is not in {folder}")
    if kind not in get_args(Kind):
        raise AudioError(f"{MANIFEST}: {file} is of kind {kind!r}, expected {get_args(Kind)}")
    if rate and not rate.isdigit():
        raise AudioError(f"{MANIFEST}: {file} has native_rate {rate!r}, expected whole hertz")
    path = folder / file
    return Clip(
        path=path, file=file, kind=kind, native_rate_hz=int(rate) if rate else _rate_of(path)
    )


def _found(folder: Path) -> tuple[Clip, ...]:
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    return tuple(
        Clip(
            path=path,
            file=path.relative_to(folder).as_posix(),
            kind=_kind_of(path.relative_to(folder)),
            native_rate_hz=_rate_of(path),
        )
        for path in paths
    )


def _kind_of(relative: Path) -> Kind:
    """Files named for music or noise, or in a folder so named, are that; the rest is speech."""
    name = relative.as_posix().lower()
    if "music" in name:
        return "music"
    return "noise" if "noise" in name else "speech"


def _rate_of(path: Path) -> int:
    try:
        return int(soundfile.info(path).samplerate)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path.name} cannot be read: {error}") from error
