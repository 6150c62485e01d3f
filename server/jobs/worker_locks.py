"""File locks that tell which workers live: the system drops them with the process."""

import fcntl
import os
import secrets
from pathlib import Path


class WorkerLocks:
    """The lock of this worker, and a look at those of others."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._folder = folder
        self._descriptor = os.open(folder / self.name, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        (self._folder / self.name).unlink(missing_ok=True)
        os.close(self._descriptor)

    def dead(self, names: set[str]) -> set[str]:
        """Return those of the workers named that are gone."""
        return {name for name in names if name != self.name and self._is_dead(self._folder / name)}

    def _is_dead(self, path: Path) -> bool:
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        path.unlink(missing_ok=True)
        return True
