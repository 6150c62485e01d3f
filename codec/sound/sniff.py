"""Recognises audio formats by a file's first bytes, never by its name."""

from importlib.util import find_spec
from typing import Final, Literal

from grove.codec.errors import AudioError, NotAudioError

MediaContainer = Literal["mp4", "webm"]
"""What browsers and telephones record: read by PyAV, the extra `media`."""
AudioContainer = Literal["wav", "flac", "ogg", "mp3", "aiff", "mp4", "webm"]

SNIFF_BYTES: Final = 64
# Where a folder is searched, a name is all there is to go by.
AUDIO_SUFFIXES: Final = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif")
_EXPECTED: Final = "WAV, FLAC, Ogg (Opus or Vorbis), MP3, AIFF, M4A or WebM"
_MEDIA_NAMES: Final[dict[MediaContainer, str]] = {"mp4": "MP4/M4A", "webm": "Matroska/WebM"}
_MEDIA_HINT: Final = (
    "convert it first, for example with `ffmpeg -i in out.wav`, or have the extra `media` installed"
)
_CONVERT: Final = "convert it first, for example with `ffmpeg -i in out.wav`"

# Offset, bytes, and what to call it: formats met in practice that are not for us.
_FOREIGN: Final[tuple[tuple[int, bytes, str], ...]] = (
    (0, b"RIFX", "big-endian WAV"),
    (0, b"riff\x2e\x91\xcf\x11", "Wave64"),
    (0, b"caff", "CAF"),
    (0, b".snd", "AU"),
    (0, b"#!AMR", "AMR"),
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"ASF", "ASF"),
    (0, b"\x30\x26\xb2\x75", "WMA"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "gzip data"),
    (0, b"%PDF", "PDF"),
)


def sniff(head: bytes, name: str) -> AudioContainer:
    """Return which container starts with `head` (the first SNIFF_BYTES bytes, or all)."""
    if not head:
        raise AudioError(f"{name}: is empty, expected {_EXPECTED}")
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"fLaC":
        return "flac"
    if head[:4] == b"OggS":
        return "ogg"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[:3] == b"ID3" or is_mpeg_frame(head[:4]):
        return "mp3"
    if (media := _media(head)) is not None:
        if not _has_media():
            what = (
                f"{_MEDIA_NAMES[media]}, for which PyAV (the extra `media`) is not installed here"
            )
            raise AudioError(f"{name}: is {what}", hint=_MEDIA_HINT)
        return media
    raise NotAudioError(f"{name}: is {_description(head)}, expected {_EXPECTED}", _CONVERT, head)


def _media(head: bytes) -> MediaContainer | None:
    if head[4:8] == b"ftyp":
        return "mp4"
    return "webm" if head[:4] == b"\x1a\x45\xdf\xa3" else None


def is_mpeg_frame(header: bytes) -> bool:
    """Tell whether four bytes can start an MP3 frame: sync, layer III, bit rate and sample rate."""
    return (
        len(header) == 4
        and header[0] == 0xFF
        and header[1] & 0xE0 == 0xE0
        and header[1] & 0x18 != 0x08
        and header[1] & 0x06 == 0x02
        and header[2] & 0xF0 not in (0x00, 0xF0)
        and header[2] & 0x0C != 0x0C
    )


def _description(head: bytes) -> str:
    for offset, magic, what in _FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            return what
    if head[:2] in (b"\xff\xf1", b"\xff\xf9"):
        return "AAC"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06 > 2:
        return "MPEG audio of layer I or II"
    if all(byte in b"\t\n\r\f\x1b" or byte >= 0x20 for byte in head) and _is_utf8(head):
        return "text"
    return f"unknown data starting with {head[:4].hex(' ')}"


def _is_utf8(head: bytes) -> bool:
    # The last character may be cut, by three bytes at most.
    return any(_decodes(head[: len(head) - cut]) for cut in range(min(4, len(head))))


def _decodes(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _has_media() -> bool:
    """Tell whether the extra is installed, without loading it."""
    return find_spec("av") is not None
