"""What the README shows runs as it stands."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_there_is_something_to_run() -> None:
    assert BLOCKS


@pytest.mark.parametrize("block", BLOCKS)
def test_python_blocks_run(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})


def test_every_path_that_it_names_exists() -> None:
    named = re.findall(r"(?:codec|server|training|tests|docs|exports)/[\w./-]+\w", TEXT)
    shipped = {name for name in named if not name.startswith("exports/mine")}
    missing = [name for name in sorted(shipped) if not (ROOT / name).exists()]
    assert missing == []
