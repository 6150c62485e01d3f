"""Counts rooms and arrows: the entries of each folder, and which of them import which.

`python -m grove.tools.arrows [ROOT]` prints a line for each folder of the package. An entry is a
module or a folder with modules in it; an arrow leads from one entry to another that it imports,
counted once. Folders with few arrows read as a block diagram.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = "grove"
TOP = ("codec", "server", "training", "tools")


class Plan(NamedTuple):
    """One folder as a diagram."""

    rooms: tuple[str, ...]
    arrows: frozenset[tuple[str, str]]
    both_ways: int
    """Pairs of entries that import each other."""


def plan_of(folder: Path, root: Path) -> Plan:
    """Return the entries of `folder` and the arrows between them."""
    rooms = {entry.stem if entry.is_file() else entry.name: entry for entry in _entries(folder)}
    prefix = folder.relative_to(root).parts
    arrows = {
        (name, target)
        for name, entry in rooms.items()
        for module in ([entry] if entry.is_file() else sorted(entry.rglob("*.py")))
        for parts in _imported(module)
        if parts[: len(prefix)] == prefix and len(parts) > len(prefix)
        for target in [parts[len(prefix)]]
        if target in rooms and target != name
    }
    mutual = sum((b, a) in arrows for a, b in arrows) // 2
    return Plan(tuple(sorted(rooms)), frozenset(arrows), mutual)


def folders(root: Path) -> list[Path]:
    """Return the package's folders that hold modules, outer ones first."""
    found = {path.parent for top in TOP for path in (root / top).rglob("*.py")}
    return sorted(folder for folder in found if len(list(_entries(folder))) > 1)


def _entries(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        is_module = path.suffix == ".py" and path.stem != "__init__"
        if is_module or (path.is_dir() and next(path.rglob("*.py"), None)):
            yield path


def _imported(module: Path) -> Iterator[tuple[str, ...]]:
    """Yield the parts of what a module imports, ours without the package's name."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom(module=str(source)):
                names = [f"{source}.{alias.name}" for alias in node.names]
            case _:
                continue
        yield from (tuple(name.removeprefix(f"{PACKAGE}.").split(".")) for name in names)


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    out = [f"{'folder':<24} rooms arrows both ways"]
    for folder in folders(root):
        plan = plan_of(folder, root)
        name = str(folder.relative_to(root))
        out.append(f"{name:<24} {len(plan.rooms):5} {len(plan.arrows):6} {plan.both_ways:9}")
    sys.stdout.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
