"""Where sources lie: files here, or objects that fsspec reaches."""

import os
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote_to_bytes

from codec.errors import AudioError
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
        return _open_file(Path(os.fsdecode(unquote_to_bytes(uri.removeprefix(_FILE)))), resources)
    if is_remote(uri):
        file: BinaryIO = resources.enter_context(fsspec().open(uri, "rb"))
        return file
    return _open_file(Path(uri), resources)


def remote_matches(pattern: str) -> list[str]:
    """Return the objects that a URL or a pattern of one names, sorted."""
    store, path = fsspec().core.url_to_fs(pattern)
    if not any(sign in path for sign in "*?["):
        return [pattern]
    if pattern.startswith(_FILE):
        return [Path(match).as_uri() for match in sorted(store.glob(path))]
    return sorted(store.unstrip_protocol(match) for match in store.glob(path))


def _open_file(path: Path, resources: ExitStack) -> BinaryIO:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        os.scandir(path).close()  # says why it could not be listed
        raise AudioError(f"{printable(str(path))}: is a folder, expected a file")
    if not stat.S_ISREG(mode):  # opening a pipe that nobody writes to would wait for ever
        raise AudioError(f"{printable(str(path))}: is a pipe or a device, expected a file")
    return resources.enter_context(path.open("rb"))
