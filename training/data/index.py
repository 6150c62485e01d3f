"""The index of a cache: what is known of its recordings, a row each, as columns."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from grove.training.data.decode import Decoded

Texts = npt.NDArray[np.str_]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class AudioIndex:
    """Columns of equal length; offset and length count samples of the cache."""

    file: Texts
    source: Texts
    speaker: Texts
    kind: Texts
    native_rate: Numbers
    offset: Numbers
    length: Numbers

    def __len__(self) -> int:
        return len(self.offset)

    @classmethod
    def of(cls, recordings: Sequence[Decoded]) -> Self:
        """Index recordings that lie in the cache one after the other."""
        entries = [recording.entry for recording in recordings]
        length = np.array([recording.length for recording in recordings], dtype=np.int64)
        return cls(
            file=np.array([entry.file for entry in entries], dtype=np.str_),
            source=np.array([entry.source for entry in entries], dtype=np.str_),
            speaker=np.array([entry.speaker for entry in entries], dtype=np.str_),
            kind=np.array([entry.kind for entry in entries], dtype=np.str_),
            native_rate=np.array([r.native_rate for r in recordings], dtype=np.int64),
            offset=np.cumsum(length) - length,
            length=length,
        )

    def save(self, path: Path) -> None:
        columns = {f"{field.name}_column": getattr(self, field.name) for field in fields(self)}
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **columns)

    @classmethod
    def load(cls, path: Path) -> Self:
        # np.load given a path leaves the file open where it is damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as columns:
            return cls(*(columns[f"{field.name}_column"] for field in fields(cls)))

    def summary(self, sample_rate_hz: int) -> str:
        """Say what there is, so that a wrong listing shows: `speech 8.1 h (1276 speakers) …`."""
        parts: list[str] = []
        for kind in np.unique(self.kind).tolist():
            hours = float(self.length[self.kind == kind].sum()) / sample_rate_hz / 3600
            speakers = len({key for key in self.speaker_keys() if key[0] == kind})
            rates = sorted(set(self.native_rate[self.kind == kind].tolist()))
            parts.append(f"{kind} {hours:.2f} h ({speakers} speakers, recorded at {rates} Hz)")
        return f"{len(self)} files: " + ", ".join(parts)

    def speaker_keys(self) -> list[tuple[str, str, str]]:
        """Return (kind, source, speaker) per row: labels are unique within a source only."""
        columns = (self.kind.tolist(), self.source.tolist(), self.speaker.tolist())
        return list(zip(*columns, strict=True))
