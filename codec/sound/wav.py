"""The WAV header: RIFF, RF64 and BW64 in, from files and pipes; RIFF out."""

import struct
from dataclasses import dataclass
from typing import Final, Literal

from grove.codec.errors import AudioError
from grove.codec.sound.bytestream import ByteStream
from grove.codec.sound.pcm import SAMPLE_BYTES, PcmEncoding, PcmFormat

_MAX_DATA_BYTES: Final = 0xFFFFFFFF - 0x1000
_UNKNOWN_SIZE: Final = 0xFFFFFFFF
_MAX_CHUNKS: Final = 1_000
_MAX_FMT_BYTES: Final = 1_024
_EXTENSIBLE: Final = 0xFFFE
_EXTENSIBLE_TAIL: Final = bytes.fromhex("000000001000800000aa00389b71")

_ENCODINGS: Final[dict[tuple[int, int], PcmEncoding]] = {
    (1, 8): "u8",
    (1, 16): "s16le",
    (1, 24): "s24le",
    (1, 32): "s32le",
    (3, 32): "f32le",
    (3, 64): "f64le",
    (6, 8): "alaw",
    (7, 8): "mulaw",
}
_TAG_NAMES: Final = {
    1: "PCM",
    2: "Microsoft ADPCM",
    3: "float",
    6: "A-law",
    7: "mu-law",
    0x11: "IMA ADPCM",
    0x31: "GSM 6.10",
    0x40: "G.721 ADPCM",
    0x50: "MPEG",
    0x55: "MP3",
}


@dataclass(frozen=True, slots=True)
class WavHeader:
    """What stands before the samples; `data_bytes` is None where the writer could not know it."""

    pcm: PcmFormat
    data_bytes: int | None


def read_wav_header(stream: ByteStream) -> WavHeader:
    """Read up to the first sample."""
    magic, riff_bytes, _ = struct.unpack("<4sI4s", stream.take(12))
    pcm: PcmFormat | None = None
    long_bytes: int | None = None
    for _ in range(_MAX_CHUNKS):
        head = stream.take(8)
        if len(head) < 8:
            raise AudioError(f"{stream.name}: ends before its samples, at byte {stream.position}")
        kind, size = struct.unpack("<4sI", head)
        if kind == b"data":
            if pcm is None:
                raise AudioError(f"{stream.name}: its data comes before its format ('fmt ')")
            return WavHeader(pcm, _data_bytes(size, riff_bytes, long_bytes, magic))
        if kind == b"fmt ":
            pcm = _read_format(stream, size)
        elif kind == b"ds64":
            long_bytes = _read_long_size(stream, size)
        else:
            stream.skip(size + size % 2)
    raise AudioError(f"{stream.name}: has {_MAX_CHUNKS} chunks and no samples among them")


def wav_header(
    encoding: Literal["s16le", "f32le"], sample_rate_hz: int, channels: int, samples: int | None
) -> bytes:
    """Return the header of a file of `samples` per channel; None marks the sizes as unknown.

    What RIFF cannot count gets an RF64 header.
    """
    width = SAMPLE_BYTES[encoding] * channels
    bits = 8 * SAMPLE_BYTES[encoding]
    rate_hz = sample_rate_hz
    tag = 3 if encoding == "f32le" else 1
    fmt = struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * width, width, bits)
    if tag == 1:
        chunks = _chunk(b"fmt ", fmt)
    else:  # Every encoding but PCM owes an extension size and a count of samples.
        counted = min(_UNKNOWN_SIZE if samples is None else samples, _UNKNOWN_SIZE)
        chunks = _chunk(b"fmt ", fmt + b"\0\0") + _chunk(b"fact", struct.pack("<I", counted))
    if samples is None:
        return _riff(b"RIFF", _UNKNOWN_SIZE, chunks, _UNKNOWN_SIZE)
    data_bytes = samples * width
    if data_bytes <= _MAX_DATA_BYTES:
        return _riff(b"RIFF", 4 + len(chunks) + 8 + data_bytes, chunks, data_bytes)
    riff_bytes = 4 + 36 + len(chunks) + 8 + data_bytes
    long_sizes = _chunk(b"ds64", struct.pack("<QQQI", riff_bytes, data_bytes, samples, 0))
    return _riff(b"RF64", _UNKNOWN_SIZE, long_sizes + chunks, _UNKNOWN_SIZE)


def check_riff_bytes(data_bytes: int, name: str) -> None:
    """Refuse more samples than a RIFF header can count."""
    if data_bytes > _MAX_DATA_BYTES:
        raise AudioError(
            f"{name}: a WAV file of unknown length holds at most {_MAX_DATA_BYTES} bytes",
            hint="write FLAC instead",
        )


def _riff(magic: bytes, riff_bytes: int, chunks: bytes, data_bytes: int) -> bytes:
    head = struct.pack("<4sI4s", magic, riff_bytes, b"WAVE")
    return head + chunks + struct.pack("<4sI", b"data", data_bytes)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack("<4sI", kind, len(data)) + data


def _read_format(stream: ByteStream, size: int) -> PcmFormat:
    if not 16 <= size <= _MAX_FMT_BYTES:
        raise AudioError(f"{stream.name}: its 'fmt ' chunk has {size} bytes, expected 16 to 1024")
    fmt = stream.take(size + size % 2)
    if len(fmt) < size:
        raise AudioError(f"{stream.name}: ends before its samples, at byte {stream.position}")
    tag, channels, rate_hz, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", fmt)
    if tag == _EXTENSIBLE:
        if size < 40 or fmt[26:40] != _EXTENSIBLE_TAIL:
            raise AudioError(f"{stream.name}: has an unknown extensible WAV format")
        tag = struct.unpack_from("<H", fmt, 24)[0]
    encoding = _ENCODINGS.get((tag, -(-bits // 8) * 8))
    if encoding is None:
        what = _TAG_NAMES.get(tag, f"format {tag:#06x}")
        raise AudioError(
            f"{stream.name}: holds {bits}-bit {what}, expected PCM of 8 to 32 bits, "
            "float of 32 or 64 bits, A-law or mu-law",
            hint="convert it first, for example with `ffmpeg -i in.wav -c:a pcm_s16le out.wav`",
        )
    if channels == 0 or frame_bytes != channels * SAMPLE_BYTES[encoding]:
        raise AudioError(
            f"{stream.name}: declares {frame_bytes} bytes for {channels} channels of {bits} bits, "
            f"expected {channels * SAMPLE_BYTES[encoding]} and at least one channel"
        )
    return PcmFormat(encoding, rate_hz, channels)


def _read_long_size(stream: ByteStream, size: int) -> int | None:
    """Return the 64-bit size of the data from a 'ds64' chunk."""
    head = stream.take(min(size, 16))
    stream.skip(size + size % 2 - len(head))
    return int.from_bytes(head[8:16], "little") if len(head) == 16 else None


def _data_bytes(size: int, riff_bytes: int, long_bytes: int | None, magic: bytes) -> int | None:
    """Return the declared size of the data, or None where it is a mark for "unknown"."""
    if magic != b"RIFF" and size == _UNKNOWN_SIZE:
        return None if long_bytes in (0, 2**64 - 1) else long_bytes
    # ffmpeg writes 2^32-1 into a pipe, sox 2^31-2^12, arecord about 2^31, others zeros throughout.
    if size >= 0xFFFFF000 or 0x7FFFF000 <= size <= 0x80000000:
        return None
    return None if size == 0 and riff_bytes == 0 else size
