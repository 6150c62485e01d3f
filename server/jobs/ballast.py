"""A reserve file: room on the disk, so that jobs can be ended and deleted when it is full."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

_BYTES: Final = 1 << 20
_T = TypeVar("_T")


class Ballast:
    """A file that is given up for what must be written, and taken again when there is room."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.restore(0)

    def with_room(self, call: Callable[[], _T]) -> _T:
        """Do a small write; where the disk is full, do it in the place of the ballast."""
        try:
            return call()
        except (OSError, sqlite3.OperationalError):
            with suppress(OSError):
                self._path.unlink()
            return call()

    def restore(self, reserve_bytes: int) -> None:
        """Take the room again, unless others need it more."""
        if self._path.exists():
            return
        if shutil.disk_usage(self._path.parent).free < reserve_bytes + 4 * _BYTES:
            return
        with suppress(OSError), self._path.open("wb") as file:
            file.write(os.urandom(_BYTES))  # not zeros, which a file system may not store
