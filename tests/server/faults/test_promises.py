"""The table in README.md names every test of this folder, and none besides."""

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent


def test_the_table_names_just_the_tests_there_are() -> None:
    named = re.findall(r"`(test_\w+)`", (HERE / "README.md").read_text(encoding="utf-8"))
    found = [
        node.name
        for path in HERE.glob("test_*.py")
        if path != Path(__file__)
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert sorted(named) == sorted(found)
