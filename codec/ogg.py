"""Ogg pages, looked at before a decoder is: what the stream holds, and whether it has its end."""

import os
from typing import BinaryIO, Final

from codec.errors import AudioError

_MAX_PAGE_BYTES: Final = 27 + 255 + 255 * 255
_LAST_PAGE_FLAG: Final = 4
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
