"""The AIFF header, looked at before a decoder is: what it holds, and whether all of it is there."""

import struct
from dataclasses import dataclass
from typing import BinaryIO, Final

from grove.codec.errors import AudioError

_MAX_CHUNKS: Final = 1_000
# Plain samples only: AIFF-C also carries ADPCM and GSM, whose decoders have a history of holes.
_INTEGER: Final = (b"NONE", b"twos", b"sowt", b"in24", b"in32", b"raw ")
_FLOAT: Final = (b"fl32", b"FL32", b"fl64", b"FL64")
_G711: Final = (b"ulaw", b"ULAW", b"alaw", b"ALAW")
_COMPRESSIONS: Final = frozenset((*_INTEGER, *_FLOAT, *_G711))


@dataclass(frozen=True, slots=True)
class AiffHeader:
    """Samples per channel as declared, and how many bytes of sound are missing at the end."""

    samples: int
    missing_bytes: int


def read_aiff_header(file: BinaryIO, name: str, size_bytes: int) -> AiffHeader:
    """Check the chunks of a seekable AIFF or AIFF-C file."""
    file.seek(8)
    is_compressed = file.read(4) == b"AIFC"
    samples, missing_bytes = None, None
    position = 12
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            break
        kind, size = struct.unpack(">4sI", head)
        if kind == b"COMM":
            samples = _declared_samples(file.read(min(size, 22)), is_compressed, name)
        elif kind == b"SSND":
            missing_bytes = max(0, position + 8 + size - size_bytes)
        position += 8 + size + size % 2
    if samples is None or missing_bytes is None:
        raise AudioError(f"{name}: has no samples, expected an AIFF file with COMM and SSND chunks")
    return AiffHeader(samples, missing_bytes)


def _declared_samples(comm: bytes, is_compressed: bool, name: str) -> int:
    if len(comm) < (22 if is_compressed else 18):
        raise AudioError(f"{name}: its COMM chunk has {len(comm)} bytes, expected 18 or more")
    compression = comm[18:22] if is_compressed else b"NONE"
    if compression not in _COMPRESSIONS:
        raise AudioError(
            f"{name}: holds AIFF-C compressed as {compression!r}, expected plain samples",
            hint="convert it first, for example with `ffmpeg -i in.aiff out.wav`",
        )
    return int(struct.unpack_from(">I", comm, 2)[0])
