"""Output files and folders that appear whole or not at all."""

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from grove.codec.errors import CodecError


class OutputError(CodecError):
    """A place that cannot be written to: in the way, forbidden, or full."""


class OutputClosedError(OutputError):
    """Whoever read our output has gone away; nobody is left to tell."""


def output_error(name: str | Path, error: OSError) -> OutputError:
    """Return what the system says as one line that names the file."""
    kind = OutputClosedError if isinstance(error, BrokenPipeError) else OutputError
    return kind(f"{name}: cannot be written: {error.strerror or error}")


@contextmanager
def atomic_file(path: Path, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Open a file that takes its place at `path` when the block ends, and only if it ends well.

    Devices and pipes are written to directly: there is nothing to keep whole.
    """
    target = path.resolve()  # a link keeps pointing where it did
    mode = _existing_mode(path, overwrite)
    with _output_errors(path, target.parent):
        if mode is not None and not stat.S_ISREG(mode):
            with path.open("wb") as device:
                yield device
            return
        part = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
        nameless = _nameless_file(target.parent)
        try:
            with nameless or part.open("xb") as file:
                yield file
                file.flush()
                if mode is not None:
                    os.fchmod(file.fileno(), stat.S_IMODE(mode))
                os.fsync(file.fileno())
                if nameless:
                    # A name in place at once where none may be there, else by way of another.
                    _give_name(file, part if overwrite else target)
            if overwrite or not nameless:
                _put_in_place(part, target, overwrite)
            _sync_folder(target.parent)
        finally:
            with suppress(OSError):
                part.unlink()


def put_in_place(part: Path, target: Path) -> None:
    """Give a file that is complete its name, in a folder of its own; both survive a power cut.

    For results that others look at while they grow; OSError says what is wrong.
    """
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)
    _sync_folder(target.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to fill, which becomes `path` when the block ends, if it ends well."""
    part = path.with_name(path.name + ".partial")
    shutil.rmtree(part, ignore_errors=True)
    with _output_errors(path, path.parent):
        part.mkdir(parents=True)
    try:
        yield part
        with _output_errors(path, path.parent):
            part.rename(path)
        _sync_folder(path.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _nameless_file(folder: Path) -> BinaryIO | None:
    """Open a file that vanishes with this process, however it ends; None where there is no such."""
    if not hasattr(os, "O_TMPFILE") or not Path("/proc/self/fd").is_dir():
        return None
    try:
        return os.fdopen(os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666), "w+b")
    except OSError:
        return None


def _give_name(file: BinaryIO, path: Path) -> None:
    folder = os.open("/proc/self/fd", os.O_RDONLY)
    try:
        # Only with a folder to start from does Python follow the link that a descriptor is.
        os.link(str(file.fileno()), path, src_dir_fd=folder, follow_symlinks=True)
    except FileExistsError:
        raise _exists(path) from None
    finally:
        os.close(folder)


def _existing_mode(path: Path, overwrite: bool) -> int | None:
    """Return the mode of what is at `path`, None if nothing; refuse what must not be replaced."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise output_error(path, error) from error
    if stat.S_ISDIR(mode):
        raise OutputError(f"{path}: is a directory, expected a file to write")
    if stat.S_ISREG(mode) and not overwrite:
        raise _exists(path)
    return mode


def _put_in_place(part: Path, target: Path, overwrite: bool) -> None:
    if overwrite:
        part.replace(target)
    else:
        # A link fails where a rename would quietly replace what appeared in the meantime.
        try:
            target.hardlink_to(part)
        except FileExistsError:
            raise _exists(target) from None
        except OSError:
            part.replace(target)  # a file system without links


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _exists(path: Path) -> OutputError:
    return OutputError(f"{path}: exists already", hint="choose another name, or allow overwriting")


@contextmanager
def _output_errors(path: Path, folder: Path) -> Iterator[None]:
    """Turn what the system says into one line that names the file."""
    try:
        yield
    except OSError as error:
        # A failed write names no file. One named elsewhere is another file's trouble.
        if error.filename is not None and Path(error.filename).parent != folder:
            raise
        raise output_error(path, error) from error
