"""The held-out clips that validation hears: the same ones in every run on the same data."""

from dataclasses import dataclass

import numpy as np

from grove.codec.arrays import F32
from grove.training.data.cache import AudioCache
from grove.training.data.config import KindWeights
from grove.training.data.manifest import KINDS, DataError, Kind
from grove.training.data.split import hash_share

_GRID_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Clip:
    """A stretch of a held-out recording, [N] samples."""

    file: str
    kind: Kind
    samples: F32


def held_out_clips(
    cache: AudioCache, count: int, clip_seconds: float, kinds: KindWeights
) -> tuple[Clip, ...]:
    """Return up to `count` clips of at most `clip_seconds`, kinds by weight, speakers in turn."""
    rows = cache.rows(held_out=True)
    of_kind = {k: _in_turn(cache, rows[cache.index.kind[rows] == k].tolist()) for k in KINDS}
    weight_of = {"speech": kinds.speech, "music": kinds.music, "noise": kinds.noise}
    weights = {kind: weight_of[kind] if of_kind[kind] else 0.0 for kind in KINDS}
    total = sum(weights.values())
    if total == 0:
        raise DataError(
            f"{cache.path} holds {len(cache.index)} recordings, none of a drawn kind held out",
            "raise data.validation_share, or add recordings",
        )
    chosen: list[int] = []
    for kind in KINDS[1:]:
        chosen += of_kind[kind][: round(count * weights[kind] / total)]
    chosen = of_kind["speech"][: count - len(chosen)] + chosen
    return tuple(_cut(cache, row, clip_seconds) for row in chosen)


def _in_turn(cache: AudioCache, rows: list[int]) -> list[int]:
    """Order rows so that every speaker comes once before one comes twice."""
    heard: dict[tuple[str, str, str], int] = {}
    keys = cache.index.speaker_keys()
    turns: list[tuple[int, float, int]] = []
    for row in sorted(rows, key=lambda row: hash_share(str(cache.index.file[row]))):
        turn = heard[keys[row]] = heard.get(keys[row], 0) + 1
        turns.append((turn, hash_share(str(cache.index.file[row])), row))
    return [row for _, _, row in sorted(turns)]


def _cut(cache: AudioCache, row: int, clip_seconds: float) -> Clip:
    """Cut the loudest stretch: PESQ and STOI mean nothing on a pause."""
    count = round(clip_seconds * cache.sample_rate_hz)
    whole = cache.read(row, 0, int(cache.index.length[row]))
    energy = np.concatenate(([0.0], np.cumsum(np.square(whole, dtype=np.float64))))
    step = max(round(_GRID_SECONDS * cache.sample_rate_hz), 1)
    starts = np.arange(0, max(len(whole) - count, 0) + 1, step)
    ends = np.minimum(starts + count, len(whole))
    start = int(starts[np.argmax(energy[ends] - energy[starts])])
    kind = next(known for known in KINDS if known == str(cache.index.kind[row]))
    return Clip(str(cache.index.file[row]), kind, whole[start : start + count])
