"""Packets in and out of Ogg files: to count a peer's payload, and to lose some of it.

Pages are mutagen's. The service's own look at pages (`codec/sound/ogg.py`) is another matter: it
seeks in uploads that may be damaged or hostile, and must not need more than it reads.
"""

import io
from collections.abc import Sequence
from typing import NamedTuple

from mutagen.ogg import OggPage
from mutagen.ogg import error as OggError

from grove.codec.errors import AudioError

_NO_GRANULE = -1
_SERIAL = 1
OPUS_HEADERS = 2
OPUS_RATE_HZ = 48_000


class OpusStream(NamedTuple):
    """The packets of an Opus file, and the granule position at which its sound ends."""

    headers: list[bytes]
    audio: list[bytes]
    last_granule: int


def pages(data: bytes) -> list[OggPage]:
    """Return the pages of an Ogg file, each checked against its CRC."""
    file = io.BytesIO(data)
    found = []
    while (at := file.tell()) < len(data):
        try:
            page = OggPage(file)
        except (OggError, EOFError) as error:
            raise AudioError(f"no whole Ogg page at byte {at} of {len(data)}: {error}") from error
        # mutagen does not look at the CRC; it writes the right one.
        if page.write() != data[at : file.tell()]:
            raise AudioError(f"the Ogg page at byte {at} does not have the CRC of its bytes")
        found.append(page)
    return found


def packets(data: bytes) -> list[bytes]:
    """Return the packets of an Ogg file with one logical stream."""
    return _packets(pages(data))


def _packets(found: list[OggPage]) -> list[bytes]:
    serials = {page.serial for page in found}
    if len(serials) != 1:
        raise AudioError(f"the Ogg file has {len(serials)} logical streams, expected 1")
    try:
        whole: list[bytes] = OggPage.to_packets(found, strict=True)
    except ValueError as error:
        raise AudioError(f"the Ogg file's pages do not follow each other: {error}") from error
    return whole


def read_opus(data: bytes) -> OpusStream:
    """Split an Ogg Opus file into its packets."""
    in_pages = pages(data)
    found = _packets(in_pages)
    if len(found) < OPUS_HEADERS or not found[0].startswith(b"OpusHead"):
        raise AudioError(f"the Ogg file's first packet is {found[0][:8]!r}, expected b'OpusHead'")
    granules = [page.position for page in in_pages if page.position != _NO_GRANULE]
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
    last = len(stream.audio) - 1
    ends = [(index + 1) * packet_samples for index in range(last)] + [stream.last_granule]
    out: list[OggPage] = []
    for packet, granule in zip(
        [*stream.headers, *stream.audio], [0] * OPUS_HEADERS + ends[: last + 1], strict=True
    ):
        page = OggPage()
        page.serial, page.sequence, page.position = _SERIAL, len(out), granule
        page.packets = [packet]
        out.append(page)
    out[0].first = out[-1].last = True
    return b"".join(page.write() for page in out)
