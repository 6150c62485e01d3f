"""Bytes to records: finds every intact record of a container, whatever lies between them."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from grove.codec.bitstream import packed_bytes
from grove.codec.container.header import MAX_HEADER_BYTES, ContainerHeader
from grove.codec.container.records import (
    BLOCK_HEADER,
    BLOCK_MARKER,
    CHECKSUM,
    END_MAGIC,
    FOOTER_HEADER,
    FOOTER_MARKER,
    MAGIC,
    MARKER_PREFIX,
    MAX_SEGMENTS,
    PREAMBLE,
    SEGMENT_END,
    SEGMENT_END_MARKER,
    SEGMENT_START,
    SEGMENT_START_MARKER,
    TRAILER,
    VERSION,
    BlockHeader,
    FileContext,
    Footer,
    footer_size,
    parse_block_header,
    parse_footer,
)
from grove.codec.errors import BitstreamError

_READ_BYTES = 65_536


class ByteReader(Protocol):
    """What a sequential source must do: a file, a pipe, an upload."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """A block; its payload is None where the checksum does not match."""

    header: BlockHeader
    payload: bytes | None
    offset: int
    byte_count: int


@dataclass(frozen=True, slots=True)
class StartRecord:
    """A segment begins."""

    number: int
    first_frame: int
    skip_samples: int
    offset: int


@dataclass(frozen=True, slots=True)
class EndRecord:
    """A segment ends, and states its sample counts."""

    number: int
    end_frame: int
    sample_count: int
    source_sample_count: int
    offset: int


@dataclass(frozen=True, slots=True)
class FooterRecord:
    """The end of the file; `footer` is None where it is damaged."""

    footer: Footer | None
    offset: int
    byte_count: int
    has_trailer: bool
    trailing_bytes: int  # counted up to one read, since a pipe may go on for ever


@dataclass(frozen=True, slots=True)
class Garbage:
    """Bytes that belong to no intact record."""

    offset: int
    byte_count: int


Record = BlockRecord | StartRecord | EndRecord | FooterRecord | Garbage


class ByteWindow:
    """The next bytes of a source, a bounded number of them in memory."""

    def __init__(self, file: ByteReader, offset: int = 0) -> None:
        # read1 hands over what a pipe has; read would wait until the buffer is full.
        self._read = getattr(file, "read1", file.read)
        self._data = bytearray()
        self._start = 0
        self.offset = offset

    def holds(self, size: int) -> bool:
        """Read on until `size` bytes are at hand; False where the source ends before."""
        while len(self._data) - self._start < size:
            chunk = self._read(_READ_BYTES)
            if not chunk:
                return False
            del self._data[: self._start]
            self._start = 0
            self._data += chunk
        return True

    def peek(self, size: int) -> bytes:
        """Return up to `size` bytes without moving on."""
        return bytes(self._data[self._start : self._start + size])

    def skip(self, size: int) -> None:
        """Move on by bytes that are at hand."""
        self._start += size
        self.offset += size

    def seek_marker(self) -> bool:
        """Move on to where a record may begin; False where the source ends before."""
        while self.holds(len(BLOCK_MARKER)):
            found = self._data.find(MARKER_PREFIX, self._start)
            # The last bytes at hand may be the first ones of a marker.
            end = found if found >= 0 else len(self._data) - len(MARKER_PREFIX) + 1
            self.skip(end - self._start)
            if found >= 0 and self.holds(len(BLOCK_MARKER)):
                return True
        self.skip(len(self._data) - self._start)
        return False

    def rest_bytes(self) -> int:
        """Return how many bytes follow, counted up to one read."""
        self.holds(1)
        return len(self._data) - self._start


def read_header(window: ByteWindow) -> FileContext:
    """Read magic, version and header; nothing of a file can be used without them."""
    window.holds(PREAMBLE.size)
    start = window.peek(PREAMBLE.size)
    if start[: len(MAGIC)] != MAGIC:
        raise BitstreamError(
            f"not a .grv file: it starts with {start[: len(MAGIC)]!r}, expected {MAGIC!r}"
        )
    if len(start) < PREAMBLE.size:
        raise BitstreamError(f"the file ends after {len(start)} bytes, inside its header")
    _, version, flags, length = PREAMBLE.unpack(start)
    if version != VERSION:
        raise BitstreamError(f"container version {version}, this reader knows {VERSION}")
    if flags != 0:
        raise BitstreamError(f"container flags are {flags:#06x}, expected 0")
    if length > MAX_HEADER_BYTES:
        raise BitstreamError(f"the header claims {length} bytes, at most {MAX_HEADER_BYTES}")
    total = PREAMBLE.size + length + CHECKSUM.size
    if not window.holds(total):
        raise BitstreamError(f"the file ends inside its header of {total} bytes")
    data = window.peek(total)
    body = data[: -CHECKSUM.size]
    if CHECKSUM.pack(zlib.crc32(body)) != data[-CHECKSUM.size :]:
        raise BitstreamError("the header's checksum does not match: the file is damaged")
    window.skip(total)
    header = ContainerHeader.from_json(body[PREAMBLE.size :])
    return FileContext(header, zlib.crc32(body))


def scan_records(window: ByteWindow, context: FileContext) -> Iterator[Record]:
    """Yield every record in order, and the garbage between; ends with the footer or the source.

    Whatever a record's header claims is skipped whole once the header is intact, so that the
    time taken is in proportion to the bytes, also where they are made to mislead.
    """
    garbage_offset = window.offset
    while window.seek_marker():
        offset = window.offset
        record = _parse_record(window, context)
        if record is None:
            window.skip(1)
            continue
        if offset > garbage_offset:
            yield Garbage(garbage_offset, offset - garbage_offset)
        yield record
        if isinstance(record, FooterRecord) and record.footer:
            return
        garbage_offset = window.offset
    if window.offset > garbage_offset:
        yield Garbage(garbage_offset, window.offset - garbage_offset)


def _parse_record(window: ByteWindow, context: FileContext) -> Record | None:
    match window.peek(len(BLOCK_MARKER)):
        case marker if marker == BLOCK_MARKER:
            return _parse_block(window, context)
        case marker if marker == SEGMENT_START_MARKER:
            return _parse_start(window, context)
        case marker if marker == SEGMENT_END_MARKER:
            return _parse_end(window, context)
        case marker if marker == FOOTER_MARKER:
            return _parse_footer(window, context)
        case _:
            return None


def _parse_block(window: ByteWindow, context: FileContext) -> BlockRecord | None:
    if not window.holds(BLOCK_HEADER.size):
        return None
    header = parse_block_header(window.peek(BLOCK_HEADER.size), context)
    if header is None:
        return None
    payload_bytes = packed_bytes(context.spec, header.frame_count, header.level)
    total = BLOCK_HEADER.size + payload_bytes + CHECKSUM.size
    if not window.holds(total):
        return None
    offset, data = window.offset, window.peek(total)
    window.skip(total)
    payload = data[BLOCK_HEADER.size : -CHECKSUM.size] if context.is_intact(data) else None
    return BlockRecord(header, payload, offset, total)


def _parse_start(window: ByteWindow, context: FileContext) -> StartRecord | None:
    if not window.holds(SEGMENT_START.size):
        return None
    offset, data = window.offset, window.peek(SEGMENT_START.size)
    _, number, first_frame, skip_samples, _ = SEGMENT_START.unpack(data)
    if not context.is_intact(data) or number >= MAX_SEGMENTS:
        return None
    window.skip(len(data))
    return StartRecord(number, first_frame, skip_samples, offset)


def _parse_end(window: ByteWindow, context: FileContext) -> EndRecord | None:
    if not window.holds(SEGMENT_END.size):
        return None
    offset, data = window.offset, window.peek(SEGMENT_END.size)
    _, number, end_frame, sample_count, source_sample_count, _ = SEGMENT_END.unpack(data)
    if not context.is_intact(data) or number >= MAX_SEGMENTS:
        return None
    window.skip(len(data))
    return EndRecord(number, end_frame, sample_count, source_sample_count, offset)


def _parse_footer(window: ByteWindow, context: FileContext) -> FooterRecord | None:
    if not window.holds(FOOTER_HEADER.size):
        return None
    size = footer_size(window.peek(FOOTER_HEADER.size), context)
    if size is None or not window.holds(size):
        return None
    offset = window.offset
    footer = parse_footer(window.peek(size), offset, context)
    window.skip(size)
    if footer is None:
        return FooterRecord(None, offset, size, has_trailer=False, trailing_bytes=0)
    window.holds(TRAILER.size)
    has_trailer = window.peek(TRAILER.size) == TRAILER.pack(size, END_MAGIC)
    if has_trailer:
        window.skip(TRAILER.size)
    return FooterRecord(footer, offset, size, has_trailer, window.rest_bytes())
