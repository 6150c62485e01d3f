"""Inputs of a corpus: files, folders, patterns, lists and tars, as items in a fixed order.

Nothing is held but the folder being read, so a corpus may have any size.
"""

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from grove.codec.sound.sniff import AUDIO_SUFFIXES
from grove.codec.tokens.lists import LIST_SUFFIXES, items_of_lines, items_of_list
from grove.codec.tokens.plan import FileItem, TarItem
from grove.codec.tokens.records import TokensError
from grove.codec.tokens.stores import absolute, is_remote, printable, remote_matches

STANDARD = "-"
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")


def list_items(inputs: Sequence[str]) -> Iterator[FileItem | TarItem]:
    """Yield every source; with several inputs, ids begin with the input as it was given."""
    if not inputs:
        raise TokensError("no input named", hint="give files, folders, patterns or lists")
    for name in inputs:
        found = 0
        for item in _items_of(name, is_only=len(inputs) == 1):
            found += 1
            yield item
        if not found:
            raise TokensError(f"{name}: holds no audio, expected files that end in {_wanted()}")


def _items_of(name: str, is_only: bool) -> Iterator[FileItem | TarItem]:
    if name == STANDARD:
        yield from items_of_lines(sys.stdin, Path.cwd())
    elif is_remote(name):
        for uri in remote_matches(name):
            yield _item(uri, uri)
    elif Path(name).is_dir():
        prefix = "" if is_only else f"{_clean(name)}/"
        for path in _walk(Path(name)):
            yield _item(prefix + path.relative_to(name).as_posix(), absolute(path))
    elif glob.has_magic(name) and not Path(name).exists():
        yield from _matches(name, is_only)
    elif Path(name).suffix.lower() in LIST_SUFFIXES:
        yield from items_of_list(Path(name))
    else:
        path = Path(name)
        if not path.exists():
            raise TokensError(f"{name}: is not there, expected a file, a folder or a pattern")
        yield _item(path.name if is_only else _clean(name), absolute(path))


def _matches(pattern: str, is_only: bool) -> Iterator[FileItem | TarItem]:
    fixed = _fixed_part(pattern)
    for match in sorted(glob.iglob(pattern, recursive=True)):  # noqa: PTH207 - any pattern
        path = Path(match)
        if path.is_file():
            shown = path.relative_to(fixed).as_posix() if is_only else _clean(match)
            yield _item(shown, absolute(path))


def _fixed_part(pattern: str) -> Path:
    """Return the folders of a pattern that name one place."""
    parts: list[str] = []
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return Path(*parts)


def _walk(folder: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
    """Yield audio and tars below a folder, sorted, one folder in memory at a time.

    A folder that cannot be listed is yielded itself, so that the ledger names it; a link to a
    folder that holds it is passed over.
    """
    try:
        status = folder.stat()
        with os.scandir(folder) as entries:
            names = sorted((entry.name, entry.is_dir()) for entry in entries)
    except OSError:
        yield folder
        return
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    for name, is_folder in names:
        if is_folder:
            yield from _walk(folder / name, above | {identity})
        elif name.lower().endswith(AUDIO_SUFFIXES + TAR_SUFFIXES):
            yield folder / name


def _item(item_id: str, uri: str) -> FileItem | TarItem:
    if uri.lower().endswith(TAR_SUFFIXES):
        return TarItem(id=printable(item_id), uri=uri)
    return FileItem(id=printable(item_id), uri=uri)


def _clean(name: str) -> str:
    return PurePosixPath(Path(name)).as_posix()


def _wanted() -> str:
    return ", ".join(AUDIO_SUFFIXES + TAR_SUFFIXES[:1])
