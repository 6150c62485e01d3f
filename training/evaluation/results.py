"""What an evaluation found, as values that survive in JSON: the scores of clips, their means."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np

from grove.codec.books import BookUse
from grove.codec.config import CodecSpec, Frozen
from grove.training.evaluation.metrics import BandError, Kind, Scores
from grove.training.evaluation.packet_loss import Concealment

WIDE_SOURCE_HZ = 24_000

Group = Literal["speech", "speech ≥ 24 kHz", "speech < 24 kHz", "music", "noise"]
GROUPS: tuple[Group, ...] = ("speech", "speech ≥ 24 kHz", "speech < 24 kHz", "music", "noise")


class Condition(Frozen):
    """A system at one setting, with packets lost or not."""

    system: str
    level: int | None = None
    loss_rate: float = 0.0
    concealment: Concealment | None = None

    @property
    def setting(self) -> str:
        """Name the system and level, whatever is lost."""
        return self.system if self.level is None else f"{self.system} level {self.level}"

    @property
    def family(self) -> str:
        """Name the system whatever its bitrate: "Opus 6k" and "Opus 8k" are Opus."""
        return self.system.split()[0] if self.level is None else self.system


class ClipScore(Frozen):
    """One clip through one condition."""

    file: str
    kind: Kind
    native_rate_hz: int
    condition: Condition
    kbps: float
    lost_share: float
    scores: Scores


class MetricMean(Frozen):
    """A mean over the clips that have the figure, and how many should have it but do not."""

    mean: float | None
    missing: int


class Row(Frozen):
    """A condition's means over one group of clips."""

    condition: Condition
    group: Group
    clips: int
    kbps: float
    lost_share: float
    p808: MetricMean
    plcmos: MetricMean
    speaker: MetricMean
    stoi: MetricMean
    estoi: MetricMean
    pesq_wb: MetricMean
    level_db: MetricMean
    si_sdr_db: MetricMean
    log_mel: MetricMean
    stft_distance: MetricMean
    buzz: MetricMean
    bands: tuple[BandError, ...]


class AbsentPeer(Frozen):
    """A peer that could not run here."""

    name: str
    missing_programs: tuple[str, ...]


class Evaluation(Frozen):
    """Everything one run found."""

    metrics_version: int
    codec: CodecSpec | None
    clips_folder: str
    clips: int
    seed: int
    rows: tuple[Row, ...]
    books: tuple[BookUse, ...]
    absent_peers: tuple[AbsentPeer, ...]
    clip_scores: tuple[ClipScore, ...]

    def select(self, group: Group, *, loss_free: bool) -> tuple[Row, ...]:
        """Return a group's rows without or with losses: ours first, each family by its rate."""
        rows = [r for r in self.rows if r.group == group]
        rows = [r for r in rows if (r.condition.loss_rate == 0) == loss_free]
        return tuple(
            sorted(rows, key=lambda r: (r.condition.level is None, r.condition.family, r.kbps))
        )


def groups_of(clip: ClipScore) -> tuple[Group, ...]:
    if clip.kind != "speech":
        return (clip.kind,)
    wide = clip.native_rate_hz >= WIDE_SOURCE_HZ
    return ("speech", "speech ≥ 24 kHz" if wide else "speech < 24 kHz")


def summarise(scores: Sequence[ClipScore]) -> tuple[Row, ...]:
    """Return the means of every condition over every group that has clips."""
    conditions = list(dict.fromkeys(one.condition for one in scores))
    rows = []
    for condition in conditions:
        mine = [one for one in scores if one.condition == condition]
        for group in GROUPS:
            members = [one for one in mine if group in groups_of(one)]
            if members:
                rows.append(_row(condition, group, members))
    return tuple(rows)


def _row(condition: Condition, group: Group, members: Sequence[ClipScore]) -> Row:
    is_speech = group not in ("music", "noise")

    def mean(pick: Callable[[Scores], float | None], *, applies: bool = True) -> MetricMean:
        return _mean((pick(one.scores) for one in members), applies=applies)

    return Row(
        condition=condition,
        group=group,
        clips=len(members),
        kbps=float(np.mean([one.kbps for one in members])),
        lost_share=float(np.mean([one.lost_share for one in members])),
        p808=mean(lambda s: s.p808, applies=is_speech),
        plcmos=mean(lambda s: s.plcmos, applies=is_speech),
        speaker=mean(lambda s: s.speaker, applies=is_speech),
        stoi=mean(lambda s: s.stoi, applies=is_speech),
        estoi=mean(lambda s: s.estoi, applies=is_speech),
        pesq_wb=mean(lambda s: s.pesq_wb, applies=is_speech),
        level_db=mean(lambda s: s.level_db),
        si_sdr_db=mean(lambda s: s.si_sdr_db),
        log_mel=mean(lambda s: s.log_mel),
        stft_distance=mean(lambda s: s.stft_distance),
        buzz=mean(lambda s: s.buzz),
        bands=_mean_bands([one.scores.bands for one in members]),
    )


def _mean_bands(clips: Sequence[tuple[BandError, ...]]) -> tuple[BandError, ...]:
    return tuple(
        BandError(
            envelope_db=float(np.mean([one.envelope_db for one in band])),
            snr_db=float(np.mean([one.snr_db for one in band])),
        )
        for band in zip(*clips, strict=True)
    )


def _mean(values: Iterable[float | None], *, applies: bool) -> MetricMean:
    every = list(values)
    found = [value for value in every if value is not None]
    return MetricMean(
        mean=float(np.mean(found)) if found else None,
        missing=len(every) - len(found) if applies else 0,
    )
