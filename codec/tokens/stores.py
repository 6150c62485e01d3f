"""Where sources lie: files here, or objects that fsspec reaches."""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote_to_bytes

from grove.codec.errors import AudioError, CodecError
from grove.codec.tokens.extras import fsspec
from grove.codec.tokens.records import TokensError

_FILE: Final = "file://"
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]+:")
_PACKAGES: Final = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "http": "aiohttp",
    "https": "aiohttp",
    "hf": "huggingface_hub",
    "sftp": "paramiko",
}
"""What fsspec needs beside it for a kind of URL."""


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
        with _named(uri):
            file: BinaryIO = resources.enter_context(fsspec().open(uri, "rb"))
        return file
    return _open_file(Path(uri), resources)


def remote_matches(pattern: str) -> list[str]:
    """Return the objects that a URL or a pattern of one names, sorted."""
    with _named(pattern):
        store, path = fsspec().core.url_to_fs(pattern)
        if not any(sign in path for sign in "*?["):
            return [pattern]
        if pattern.startswith(_FILE):
            return [Path(match).as_uri() for match in sorted(store.glob(path))]
        return sorted(store.unstrip_protocol(match) for match in store.glob(path))


def refuse_remote(folder: Path) -> Path:
    """Return a folder to write to; a URL would become a folder of that name here."""
    scheme = folder.parts[0] if folder.parts else ""
    if _SCHEME.fullmatch(scheme):
        raise TokensError(
            f"{scheme}//{'/'.join(folder.parts[1:])}: tokens are written to a folder, not to a URL",
            hint="write to a mounted path, or copy the finished folder",
        )
    return folder


@contextmanager
def _named(uri: str) -> Iterator[None]:
    """Say in one line which URL cannot be reached, and what would reach it."""
    try:
        yield
    except CodecError:
        raise
    except ImportError as error:
        package = _PACKAGES.get(uri.partition("://")[0])
        raise TokensError(
            f"{uri}: {error}", hint=f"pip install {package}" if package else None
        ) from error
    except OSError as error:
        raise TokensError(f"{uri}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # each store raises types of its own
        raise TokensError(f"{uri}: {type(error).__name__}: {error}") from error


def _open_file(path: Path, resources: ExitStack) -> BinaryIO:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        os.scandir(path).close()  # says why it could not be listed
        raise AudioError(f"{printable(str(path))}: is a folder, expected a file")
    if not stat.S_ISREG(mode):  # opening a pipe that nobody writes to would wait for ever
        raise AudioError(f"{printable(str(path))}: is a pipe or a device, expected a file")
    return resources.enter_context(path.open("rb"))
