"""Bytes in order from a file, a pipe or a buffer, counted against a limit."""

import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from grove.codec.errors import AudioError

_SKIP_BYTES: Final = 65_536


class ByteStream:
    """Reads forwards only, so that a pipe and a file take the same path."""

    def __init__(self, file: BinaryIO, name: str, max_bytes: int) -> None:
        self.name = name
        self.position = 0
        self._max_bytes = max_bytes
        self._read: Callable[[int], bytes] = file.read
        # A live pipe hands over what it has; `read` would wait until the block is full.
        self._read_some: Callable[[int], bytes] = getattr(file, "read1", file.read)
        self._ahead = b""
        seekable = _is_seekable(file)
        self.starts_file = seekable and file.tell() == 0
        self.size_bytes = _bytes_left(file) if seekable else None
        if self.size_bytes is not None and self.size_bytes > max_bytes:
            raise self._too_long(self.size_bytes)

    def peek(self, count: int) -> bytes:
        """Return the next `count` bytes (fewer at the end) without passing them."""
        if len(self._ahead) < count:
            self._ahead += self._take(self._read, count - len(self._ahead))
        return self._ahead[:count]

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes, fewer only at the end."""
        head, self._ahead = self._ahead[:count], self._ahead[count:]
        if len(head) < count:
            head += self._take(self._read, count - len(head))
        return self._counted(head)

    def take_some(self, count: int) -> bytes:
        """Return 1 to `count` bytes as soon as they are there; none at the end."""
        head, self._ahead = self._ahead[:count], self._ahead[count:]
        return self._counted(head or self._take(self._read_some, count))

    def skip(self, count: int) -> int:
        """Pass `count` bytes and return how many there were."""
        skipped = 0
        while skipped < count and (block := self.take(min(_SKIP_BYTES, count - skipped))):
            skipped += len(block)
        return skipped

    def _take(self, read: Callable[[int], bytes], count: int) -> bytes:
        try:
            return read(count)
        except OSError as error:
            raise AudioError(f"{self.name}: cannot be read: {error.strerror}") from error

    def _counted(self, data: bytes) -> bytes:
        self.position += len(data)
        if self.position > self._max_bytes:
            raise self._too_long(self.position)
        return data

    def _too_long(self, size_bytes: int) -> AudioError:
        return AudioError(
            f"{self.name}: has {size_bytes} bytes or more, expected at most {self._max_bytes}"
        )


def shown_path(path: str | Path) -> str:
    """Return a path as it may stand in a one-line message."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def shown_name(file: BinaryIO) -> str:
    """Return the name that an open file goes by, such as <stdin>."""
    name = getattr(file, "name", None)
    return shown_path(name) if isinstance(name, str) else "audio"


def _is_seekable(file: BinaryIO) -> bool:
    # A device such as a sound card may claim to seek, and has no size.
    if isinstance(file, io.BufferedReader | io.FileIO):
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    return file.seekable()


def _bytes_left(file: BinaryIO) -> int:
    start = file.tell()
    size_bytes = file.seek(0, os.SEEK_END) - start
    file.seek(start)
    return size_bytes
