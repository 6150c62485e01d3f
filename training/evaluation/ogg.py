"""Packets in and out of Ogg files (RFC 3533): to count a peer's payload, and to lose some of it."""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from grove.codec.errors import AudioError

_HEADER = struct.Struct("<4sBBqIIIB")
_CRC_AT = 22
_CONTINUED, _FIRST, _LAST = 1, 2, 4
_NO_GRANULE = -1
_SERIAL = 1
OPUS_HEADERS = 2
OPUS_RATE_HZ = 48_000


class Page(NamedTuple):
    """One page; `lacing` cuts its body into segments, and one below 255 bytes ends a packet."""

    flags: int
    granule: int
    serial: int
    lacing: bytes
    body: bytes


class OpusStream(NamedTuple):
    """The packets of an Opus file, and the granule position at which its sound ends."""

    headers: list[bytes]
    audio: list[bytes]
    last_granule: int


def pages(data: bytes) -> Iterator[Page]:
    """Yield the pages of an Ogg file, each checked against its CRC."""
    at = 0
    while at < len(data):
        if len(data) < at + _HEADER.size or data[at : at + 4] != b"OggS":
            raise AudioError(f"no Ogg page at byte {at} of {len(data)}")
        _, version, flags, granule, serial, _, crc, count = _HEADER.unpack_from(data, at)
        body_at = at + _HEADER.size + count
        lacing = data[at + _HEADER.size : body_at]
        end = body_at + sum(lacing)
        if version != 0 or len(lacing) < count or end > len(data):
            raise AudioError(f"the Ogg page at byte {at} is of version {version} or cut off")
        page = data[at:end]
        found = _crc(page[:_CRC_AT] + bytes(4) + page[_CRC_AT + 4 :])
        if found != crc:
            raise AudioError(f"the Ogg page at byte {at} has CRC {found:08x}, expected {crc:08x}")
        yield Page(flags, granule, serial, lacing, data[body_at:end])
        at = end


def packets(data: bytes) -> list[bytes]:
    """Return the packets of an Ogg file with one logical stream."""
    found: list[bytes] = []
    partial = b""
    serials = set()
    for page in pages(data):
        serials.add(page.serial)
        at = 0
        for length in page.lacing:
            partial += page.body[at : at + length]
            at += length
            if length < 255:
                found.append(partial)
                partial = b""
    if len(serials) != 1:
        raise AudioError(f"the Ogg file has {len(serials)} logical streams, expected 1")
    if partial:
        raise AudioError(f"the Ogg file ends inside a packet, after {len(partial)} bytes of it")
    return found


def read_opus(data: bytes) -> OpusStream:
    """Split an Ogg Opus file into its packets."""
    found = packets(data)
    if len(found) < OPUS_HEADERS or not found[0].startswith(b"OpusHead"):
        raise AudioError(f"the Ogg file's first packet is {found[0][:8]!r}, expected b'OpusHead'")
    granules = [page.granule for page in pages(data) if page.granule != _NO_GRANULE]
    return OpusStream(found[:OPUS_HEADERS], found[OPUS_HEADERS:], granules[-1])


def lose(stream: OpusStream, lost: Sequence[bool]) -> OpusStream:
    """Empty the frame of each lost packet (one frame a packet): libopus then conceals it."""
    flags = [*lost[: len(stream.audio)], *([False] * (len(stream.audio) - len(lost)))]
    pairs = zip(stream.audio, flags, strict=True)
    # Two zero bits say that one frame follows, no bytes that it never came (RFC 6716, 3.2.1).
    audio = [bytes([packet[0] & 0xFC]) if gone else packet for packet, gone in pairs]
    return stream._replace(audio=audio)


def write_opus(stream: OpusStream, packet_samples: int) -> bytes:
    """Return an Ogg Opus file of packets of `packet_samples` at 48 kHz, one on each page."""
    out = [
        _page([packet], sequence, 0, _FIRST if sequence == 0 else 0)
        for sequence, packet in enumerate(stream.headers)
    ]
    for index, packet in enumerate(stream.audio):
        is_last = index == len(stream.audio) - 1
        granule = stream.last_granule if is_last else (index + 1) * packet_samples
        out.append(_page([packet], len(out), granule, _LAST if is_last else 0))
    return b"".join(out)


def _page(whole_packets: Sequence[bytes], sequence: int, granule: int, flags: int) -> bytes:
    lacing = b"".join(b"\xff" * (len(p) // 255) + bytes([len(p) % 255]) for p in whole_packets)
    header = _HEADER.pack(b"OggS", 0, flags, granule, _SERIAL, sequence, 0, len(lacing))
    page = header + lacing + b"".join(whole_packets)
    return page[:_CRC_AT] + struct.pack("<I", _crc(page)) + page[_CRC_AT + 4 :]


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
        table.append(value & 0xFFFFFFFF)
    return tuple(table)


_CRC_TABLE = _crc_table()


def _crc(data: bytes) -> int:
    """Return Ogg's CRC32, which is neither reflected nor inverted (zlib's is both)."""
    crc = 0
    for byte in data:
        crc = ((crc << 8) & 0xFFFFFFFF) ^ _CRC_TABLE[(crc >> 24) ^ byte]
    return crc
