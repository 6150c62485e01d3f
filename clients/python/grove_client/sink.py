"""Where a reply goes: into memory, or into a file that appears once it is whole."""

import os
import tempfile
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import IO, Self


class Sink:
    """A context manager; what was not finished leaves nothing behind."""

    def __init__(self, target: Path | None = None) -> None:
        self._target = target
        self._part: Path | None = None
        self._out: IO[bytes] = BytesIO()
        self.size_bytes = 0

    def __enter__(self) -> Self:
        if self._target is not None:
            folder = self._target.absolute().parent
            handle, name = tempfile.mkstemp(prefix=f".{self._target.name}.", dir=folder)
            self._part, self._out = Path(name), os.fdopen(handle, "w+b")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._out.close()
        if self._part is not None:
            self._part.unlink(missing_ok=True)

    def begin(self, *, is_rest: bool) -> None:
        """Take a reply from here on: all of it, or what was missing."""
        if not is_rest:
            self._out.seek(0)
            self._out.truncate()
            self.size_bytes = 0

    def write(self, data: bytes) -> None:
        self._out.write(data)
        self.size_bytes += len(data)

    def finished(self) -> bytes:
        """Return what came, or put it where it was wanted."""
        if self._target is None or self._part is None:
            self._out.seek(0)
            return self._out.read()
        self._out.close()
        # mkstemp lets nobody else read, which was not asked for.
        mask = os.umask(0)
        os.umask(mask)
        self._part.chmod(0o666 & ~mask)
        self._part.replace(self._target)
        return b""
