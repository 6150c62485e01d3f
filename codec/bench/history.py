"""The benchmark's history: a line of JSON for each release, kept in the repository."""

import datetime
from pathlib import Path

from grove import __version__
from grove.codec.atomic import OutputError
from grove.codec.bench.figures import BatchSpeed, BenchReport, ColdStart, Machine, Speed, StepTimes
from grove.codec.config import Frozen


class HistoryLine(Frozen):
    """What of a run is worth comparing years later; only lines of one machine compare."""

    date: datetime.date
    grove_version: str
    system: str
    model_sha256: str
    machine: Machine
    seconds: float
    whole_file: Speed
    steps: StepTimes
    batches: tuple[BatchSpeed, ...]
    cold_start: ColdStart
    peak_rss_bytes: int


def line_of(report: BenchReport, date: datetime.date) -> HistoryLine:
    return HistoryLine(
        date=date,
        grove_version=__version__,
        system=report.grove.system,
        model_sha256=report.model_sha256,
        machine=report.machine,
        seconds=report.seconds,
        whole_file=report.grove.whole_file,
        steps=report.grove.steps,
        batches=report.grove.batches,
        cold_start=report.cold_start,
        peak_rss_bytes=report.grove.peak_rss_bytes,
    )


def append_line(path: Path, line: HistoryLine) -> None:
    """Add a line at the end; what is there stays."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line.model_dump_json() + "\n")
    except OSError as error:
        raise OutputError(f"cannot append to {path}: {error.strerror}") from error


def read_lines(path: Path) -> list[HistoryLine]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [HistoryLine.model_validate_json(line) for line in lines]
