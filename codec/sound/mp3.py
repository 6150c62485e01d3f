"""MP3 frames, counted before a decoder is trusted with them.

Without an index ("Xing") in the first frame, the decoder guesses the length from the first bit
rate and stops there: on a variable rate it can lose most of the audio without a word. So the
frames are counted here, and a file without an index is given one.
"""

import re
import struct
from dataclasses import dataclass
from typing import BinaryIO, Final

from grove.codec.errors import AudioError
from grove.codec.sound.sniff import is_mpeg_frame

_SEARCH_BYTES: Final = 65_536
_KBPS_MPEG1: Final = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBPS_MPEG2: Final = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES_HZ: Final = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000)}
_RATES_MPEG25_HZ: Final = (11_025, 12_000, 8_000)
_MONO: Final = 3


@dataclass(frozen=True, slots=True)
class _FrameHeader:
    """The four bytes at the start of each frame, read."""

    bits: bytes

    @property
    def is_mpeg1(self) -> bool:
        return self.bits[1] >> 3 & 3 == 3

    @property
    def sample_rate_hz(self) -> int:
        return _RATES_HZ.get(self.bits[1] >> 3 & 3, _RATES_MPEG25_HZ)[self.bits[2] >> 2 & 3]

    @property
    def samples(self) -> int:
        return 1_152 if self.is_mpeg1 else 576

    @property
    def size_bytes(self) -> int:
        kbps = (_KBPS_MPEG1 if self.is_mpeg1 else _KBPS_MPEG2)[self.bits[2] >> 4]
        return self.samples * kbps * 125 // self.sample_rate_hz + (self.bits[2] >> 1 & 1)

    @property
    def index_offset(self) -> int:
        """Where an index stands: behind the side information, whose size varies."""
        is_mono = self.bits[3] >> 6 == _MONO
        if self.is_mpeg1:
            return 4 + (17 if is_mono else 32)
        return 4 + (9 if is_mono else 17)

    def pattern(self) -> re.Pattern[bytes]:
        """Match a frame of the same stream: all but bit rate, padding, mode and checksum agree."""
        second = bytes((self.bits[1] | 1, self.bits[1] & 0xFE))
        rate = self.bits[2] & 0x0C
        third = bytes(b for b in range(256) if b & 0x0C == rate and b >> 4 not in (0, 15))
        return re.compile(b"\xff[" + re.escape(second) + b"][" + re.escape(third) + b"]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Mp3Scan:
    """Whole frames found, without the index, from byte `start` (the index, if used) on."""

    start: int
    frames: int
    declared_frames: int | None
    is_cut: bool
    first: _FrameHeader

    def made_index(self) -> bytes:
        """Return an index frame that declares what was found."""
        bits = bytearray(self.first.bits)
        bits[1] |= 1  # no checksum
        bits[2] = bits[2] & 0x0C | 0xE0  # the highest bit rate: the frame has room for the index
        header = _FrameHeader(bytes(bits))
        frame = bytearray(header.size_bytes)
        frame[:4] = bits
        struct.pack_into(">4sII", frame, header.index_offset, b"Xing", 1, self.frames)
        return bytes(frame)


def scan_mp3(file: BinaryIO, tag_bytes: int, name: str, size_bytes: int) -> Mp3Scan:
    """Walk the frames of a seekable file, behind its tag, from the first to the last."""
    start = _first_frame(file, tag_bytes, size_bytes, name)
    file.seek(start)
    first = _FrameHeader(file.read(4))
    declared_frames, has_index = _read_index(file, start, first)
    audio_start = start + (first.size_bytes if has_index else 0)
    frames, is_cut = _count_frames(file, audio_start, size_bytes, first.pattern())
    if declared_frames is None:
        start = audio_start
    return Mp3Scan(start, frames, declared_frames, is_cut, first)


def id3_bytes(file: BinaryIO) -> int:
    """Return the size of the ID3v2 tag at the start; 0 if there is none."""
    file.seek(0)
    head = file.read(10)
    if len(head) < 10 or head[:3] != b"ID3":
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def _first_frame(file: BinaryIO, start: int, size_bytes: int, name: str) -> int:
    """Return the first frame that is followed by another, or by the end."""
    file.seek(start)
    data = file.read(_SEARCH_BYTES)
    for match in re.finditer(rb"\xff(?=[\xe0-\xff])", data):
        bits = data[match.start() : match.start() + 4]
        if is_mpeg_frame(bits):
            following = start + match.start() + _FrameHeader(bits).size_bytes
            file.seek(following)
            if following >= size_bytes or is_mpeg_frame(file.read(4)):
                return start + match.start()
    raise AudioError(f"{name}: has no MP3 frames in its first {_SEARCH_BYTES} bytes after any tag")


def _read_index(file: BinaryIO, start: int, first: _FrameHeader) -> tuple[int | None, bool]:
    """Return the frames that an index in the first frame declares, and whether it has one."""
    file.seek(start)
    frame = file.read(first.size_bytes)
    at = first.index_offset
    if frame[at : at + 4] in (b"Xing", b"Info") and len(frame) >= at + 12:
        flags, frames = struct.unpack_from(">II", frame, at + 4)
        return (frames if flags & 1 else None), True
    return None, False


def _count_frames(
    file: BinaryIO, position: int, size_bytes: int, pattern: re.Pattern[bytes]
) -> tuple[int, bool]:
    """Return the whole frames from `position` on, and whether the last one is cut."""
    frames = 0
    while position < size_bytes:
        file.seek(position)
        bits = file.read(4)
        if len(bits) == 4 and pattern.match(bits):
            position += _FrameHeader(bits).size_bytes
            if position > size_bytes:
                return frames, True
            frames += 1
        else:
            file.seek(position)
            match = pattern.search(file.read(_SEARCH_BYTES))
            if match is None:
                break
            position += match.start()
    return frames, False
