from pathlib import Path

import pytest

from grove.codec.errors import ConfigError
from grove.training.evaluation.hours import draw, main, read_points

TABLE = Path(__file__).parents[3] / "training/hours.csv"


def test_every_evaluation_is_a_point_on_the_line_of_its_bitrate() -> None:
    points = read_points(TABLE)
    figure = draw(points)
    for axes, name in zip(figure.axes, ("p808", "speaker", "stoi"), strict=True):
        drawn = [
            (float(line.get_label()), x, y)
            for line in axes.lines
            for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
        ]
        assert sorted(drawn) == sorted((p.kbps, p.minutes, getattr(p, name)) for p in points)


def test_a_table_becomes_a_picture(tmp_path: Path) -> None:
    main(str(TABLE), str(tmp_path / "hours.png"))
    assert (tmp_path / "hours.png").read_bytes().startswith(b"\x89PNG")


def test_another_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match="has the columns"):
        read_points(tmp_path / "other.csv")
