"""Rooms and arrows are counted right, and where there are none both ways it stays so."""

from pathlib import Path

import pytest

from grove.tools.arrows import folders, plan_of

ROOT = Path(__file__).parents[2]


def test_an_arrow_is_counted_once_and_within_its_folder(tmp_path: Path) -> None:
    sources = {
        "codec/a.py": "from grove.codec.b import x, y\nimport grove.codec.wing.inner",
        "codec/b.py": "import numpy\nfrom grove.server import app",
        "codec/wing/__init__.py": "",
        "codec/wing/inner.py": "from grove.codec import a\nfrom grove.codec.wing.other import z",
        "codec/wing/other.py": "def late():\n    from grove.codec.b import x",
    }
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    outer = plan_of(tmp_path / "codec", tmp_path)
    assert outer.rooms == ("a", "b", "wing")
    assert outer.arrows == {("a", "b"), ("a", "wing"), ("wing", "a"), ("wing", "b")}
    assert outer.both_ways == 1
    inner = plan_of(tmp_path / "codec" / "wing", tmp_path)
    assert inner.arrows == {("inner", "other")}
    assert folders(tmp_path) == [tmp_path / "codec", tmp_path / "codec" / "wing"]


@pytest.mark.parametrize(
    "folder",
    folders(ROOT),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_nothing_is_imported_both_ways(folder: Path) -> None:
    assert plan_of(folder, ROOT).both_ways == 0
