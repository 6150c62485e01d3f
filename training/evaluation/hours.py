"""The curve of quality over training time: a line per bitrate, from a table of evaluations.

`python -m grove.training.evaluation.hours training/hours.csv training/hours.png`
"""

import csv
import sys
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from grove.codec.errors import ConfigError
from grove.training.evaluation.plots import new_figure


class Point(NamedTuple):
    """The evaluation clips' mean scores at one bitrate, after so much training."""

    minutes: float
    kbps: float
    p808: float
    speaker: float
    stoi: float
    what: str


_TITLES = {"p808": "P808", "speaker": "SIM", "stoi": "STOI"}


def read_points(path: Path) -> list[Point]:
    """Read a table with a column for each field of `Point`."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != Point._fields:
            raise ConfigError(f"{path} has the columns {reader.fieldnames}, not {Point._fields}")
        return [_point(row) for row in reader]


def _point(row: dict[str, str]) -> Point:
    numbers = [float(row[name]) for name in Point._fields[:5]]
    minutes, kbps, p808, speaker, stoi = numbers
    return Point(minutes, kbps, p808, speaker, stoi, row["what"])


def draw(points: list[Point]) -> Figure:
    """Draw each score over minutes of one core, a line for each bitrate."""
    figure = new_figure(12, 4)
    for axes, (name, title) in zip(figure.subplots(1, 3), _TITLES.items(), strict=True):
        for kbps in sorted({point.kbps for point in points}):
            line = sorted(point for point in points if point.kbps == kbps)
            minutes = [point.minutes for point in line]
            axes.plot(minutes, [getattr(point, name) for point in line], "o-", label=f"{kbps:g}")
        axes.set(title=title, xlabel="minutes of one core")
        axes.grid(alpha=0.3)
        axes.legend(title="kbps", fontsize="small")
    return figure


def main(table: str, picture: str) -> None:
    draw(read_points(Path(table))).savefig(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
