"""Where sources lie: files here, or objects that fsspec reaches."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote_to_bytes

from codec.tokens.extras import fsspec

_FILE: Final = "file://"


def is_remote(uri: str) -> bool:
    return "://" in uri


def absolute(path: Path) -> str:
    """Return a name that means the same file on another node, and that JSON can hold."""
    name = path.absolute().as_posix()
    return name if printable(name) == name else path.absolute().as_uri()


def printable(name: str) -> str:
    """Return a file name as text, where it holds bytes that are none."""
    return name.encode("utf-8", "backslashreplace").decode()


def open_bytes(uri: str, resources: ExitStack) -> BinaryIO:
    """Open a source for reading; `resources` closes it."""
    if uri.startswith(_FILE):
        path = Path(os.fsdecode(unquote_to_bytes(uri.removeprefix(_FILE))))
        return resources.enter_context(path.open("rb"))
    if is_remote(uri):
        file: BinaryIO = resources.enter_context(fsspec().open(uri, "rb"))
        return file
    return resources.enter_context(Path(uri).open("rb"))


def remote_matches(pattern: str) -> list[str]:
    """Return the objects that a URL or a pattern of one names, sorted."""
    store, path = fsspec().core.url_to_fs(pattern)
    if not any(sign in path for sign in "*?["):
        return [pattern]
    if pattern.startswith(_FILE):
        return [Path(match).as_uri() for match in sorted(store.glob(path))]
    return sorted(store.unstrip_protocol(match) for match in store.glob(path))
