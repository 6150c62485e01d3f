"""Ogg pages, looked at before a decoder is: what the stream holds, and where its links end."""

import os
from typing import BinaryIO, Final

from grove.codec.errors import AudioError

_MAX_PAGE_BYTES: Final = 27 + 255 + 255 * 255
_FIRST_PAGE_FLAG: Final = 2
_LAST_PAGE_FLAG: Final = 4
_SEARCH_BYTES: Final = 1 << 16
_FOREIGN: Final = (
    (b"Speex   ", "Speex"),
    (b"\x7fFLAC", "Ogg FLAC"),
    (b"\x80theora", "Theora video"),
    (b"fishead\0", "an Ogg skeleton"),
)


def check_ogg_codec(head: bytes, name: str) -> None:
    """Refuse a first page (its start is enough) that announces neither Opus nor Vorbis."""
    payload = head[27 + head[26] :] if len(head) > 26 else b""
    if payload.startswith((b"OpusHead", b"\x01vorbis")):
        return
    what = next((what for magic, what in _FOREIGN if payload.startswith(magic)), "an unknown codec")
    raise AudioError(
        f"{name}: holds {what} in Ogg, expected Opus or Vorbis",
        hint="convert it first, for example with `ffmpeg -i in.ogg out.wav`",
    )


def is_ogg_complete(file: BinaryIO, size_bytes: int) -> bool:
    """Tell whether the last page of a seekable file is whole and says that it is the last."""
    file.seek(max(0, size_bytes - 2 * _MAX_PAGE_BYTES), os.SEEK_SET)
    tail = file.read(2 * _MAX_PAGE_BYTES)
    start = tail.rfind(b"OggS\0")
    page = tail[start:] if start >= 0 else b""
    if len(page) < 27 or len(page) < 27 + page[26]:
        return False
    page_bytes = 27 + page[26] + sum(page[27 : 27 + page[26]])
    return len(page) >= page_bytes and bool(page[5] & _LAST_PAGE_FLAG)


def find_links(file: BinaryIO, size_bytes: int) -> list[int]:
    """Return where each link of a chain starts: the first page of a stream behind other pages."""
    links: list[int] = []
    position, was_first = 0, False
    while (position := _next_page(file, position, size_bytes)) < size_bytes:
        file.seek(position)
        page = file.read(27 + 255)
        if len(page) < 27 or len(page) < 27 + page[26]:
            break
        is_first = bool(page[5] & _FIRST_PAGE_FLAG)
        # Streams that run side by side begin together, and are one link.
        if is_first and not was_first:
            links.append(position)
        was_first = is_first
        position += 27 + page[26] + sum(page[27 : 27 + page[26]])
    return links


def _next_page(file: BinaryIO, position: int, size_bytes: int) -> int:
    """Return the start of the first page from `position` on, the size where there is none."""
    while position < size_bytes:
        file.seek(position)
        data = file.read(_SEARCH_BYTES)
        found = data.find(b"OggS\0")
        if found >= 0:
            return position + found
        if len(data) < _SEARCH_BYTES:
            break
        position += len(data) - 4
    return size_bytes
