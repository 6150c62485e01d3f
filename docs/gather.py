"""Gathers the documents of the tree, and the files that they link to, for mkdocs: `gather.py OUT`.

Also finds links that lead nowhere. Documents keep their places, so links are the same everywhere.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Folders that are not ours, or not documents.
SKIPPED = {".venv", "build", "dist", "node_modules", "runs", "samples"}
_FENCED = re.compile(r"^( *)(```|~~~).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)")
_HEADING = re.compile(r"^#{1,6} +(.+?)(?: +#+)?$", re.MULTILINE)
_OUTSIDE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def documents(root: Path) -> list[Path]:
    """Return the Markdown files of a tree, links to folders not followed."""
    found: list[Path] = []
    for path in sorted(root.iterdir()):
        if path.is_symlink() or path.name in SKIPPED or path.name.startswith("."):
            continue
        if path.is_dir():
            found += documents(path)
        elif path.suffix == ".md":
            found.append(path)
    return found


def links(document: Path) -> Iterator[tuple[Path, str]]:
    """Yield the file and the anchor of each link that stays in the tree."""
    text = _CODE.sub("", _FENCED.sub("", document.read_text(encoding="utf-8")))
    for target in _LINK.findall(text):
        if not _OUTSIDE.match(target):
            name, _, anchor = target.partition("#")
            yield (document.parent / name if name else document), anchor


def anchors(document: Path) -> set[str]:
    text = _FENCED.sub("", document.read_text(encoding="utf-8"))
    return {_slug(heading) for heading in _HEADING.findall(text)}


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def broken_links(root: Path) -> list[str]:
    """Return what leads nowhere, as `document: target`."""
    broken = []
    for document in documents(root):
        for file, anchor in links(document):
            is_there = file.exists()
            if is_there and anchor and file.suffix == ".md":
                is_there = anchor in anchors(file)
            if not is_there:
                where = os.path.relpath(file, document.parent)
                broken.append(f"{document.relative_to(root)}: {where}{anchor and '#'}{anchor}")
    return broken


def gather(root: Path, out: Path) -> None:
    """Copy every document, and every file that one links to, to its place under `out`."""
    shutil.rmtree(out, ignore_errors=True)
    found = documents(root)
    linked = [file.resolve() for document in found for file, _ in links(document)]
    for file in {*found, *(file for file in linked if file.is_file())}:
        copy = out / file.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)


if __name__ == "__main__":
    lost = broken_links(ROOT)
    if lost:
        sys.exit("links that lead nowhere:\n" + "\n".join(lost))
    gather(ROOT, Path(sys.argv[1]).resolve())
