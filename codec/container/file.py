"""Reading `.grv` files: front to back from any source, or by position from a seekable one."""

from bisect import bisect_right
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from grove.codec.bitstream import Codes
from grove.codec.container.assembler import Assembler, Block, Event, Levels, SegmentEnd
from grove.codec.container.damage import Damage, DamageLog, DamageReason
from grove.codec.container.header import ContainerHeader
from grove.codec.container.records import (
    END_MAGIC,
    FOOTER_HEADER,
    TRAILER,
    Footer,
    IndexEntry,
    Segment,
    footer_size,
    parse_footer,
)
from grove.codec.container.scan import ByteReader, ByteWindow, read_header, scan_records
from grove.codec.errors import BitstreamError

MAX_FRAMES_PER_READ = 2**20


class ContainerReader:
    """One pass over a source of bytes, in bounded memory; `damage` is complete after the pass."""

    def __init__(self, file: ByteReader) -> None:
        self._window = ByteWindow(file)
        self._context = read_header(self._window)
        self._log = DamageLog()

    @property
    def header(self) -> ContainerHeader:
        return self._context.header

    @property
    def damage(self) -> tuple[Damage, ...]:
        return self._log.records

    @property
    def omitted_damage_count(self) -> int:
        return self._log.omitted

    def events(self) -> Iterator[Event]:
        """Yield segment starts, blocks and segment ends in order; the source is used up then."""
        records = scan_records(self._window, self._context)
        return Assembler(self._context, self._log).assemble(records)

    def blocks(self) -> Iterator[Block]:
        """Yield only the frames."""
        return (event for event in self.events() if isinstance(event, Block))


class ContainerFile:
    """A seekable container. What is wrong is added to `damage` as reading comes across it."""

    def __init__(self, file: BinaryIO) -> None:
        if not file.seekable():
            raise BitstreamError(
                "this source cannot seek", hint="read it front to back with ContainerReader"
            )
        self._file = file
        self._log = DamageLog()
        window = self._window_at(0)
        self._context = read_header(window)
        self._data_offset = window.offset
        footer = self._find_footer()
        self._entries: tuple[IndexEntry, ...] = footer.entries if footer else ()
        self._known = footer.segments if footer else ()
        self.segments = footer.segments if footer else self._scan_segments()

    @property
    def header(self) -> ContainerHeader:
        return self._context.header

    @property
    def damage(self) -> tuple[Damage, ...]:
        return self._log.records

    @property
    def omitted_damage_count(self) -> int:
        return self._log.omitted

    @property
    def frame_count(self) -> int:
        return self.segments[-1].end_frame if self.segments else 0

    @property
    def sample_count(self) -> int:
        """How many samples the file decodes to, at the codec's rate."""
        return sum(segment.sample_count for segment in self.segments)

    @property
    def source_sample_count(self) -> int:
        """How many samples the original had, at its own rate."""
        return sum(segment.source_sample_count for segment in self.segments)

    def verify(self) -> tuple[Damage, ...]:
        """Read everything once, and return all that is wrong."""
        for _ in self.events():
            pass
        return self.damage

    def events(self) -> Iterator[Event]:
        """Yield segment starts, blocks and segment ends from the first to the last."""
        return self._events_from(self._data_offset, self._assembler())

    def blocks(self, first_frame: int = 0, end_frame: int | None = None) -> Iterator[Block]:
        """Yield the frames of a range in order, in bounded memory."""
        end_frame = self.frame_count if end_frame is None else end_frame
        self._check_range(first_frame, end_frame)
        assembler, offset = self._assembler(), self._data_offset
        place = bisect_right(self._entries, first_frame, key=lambda entry: entry.first_frame)
        if place:
            entry = self._entries[place - 1]
            assembler.resume(self._segment_at(entry.first_frame), entry.first_frame)
            offset = entry.offset
        next_frame = first_frame
        events = self._events_from(offset, assembler)
        while next_frame < end_frame:
            event = next(events, None)
            if event is None:
                raise BitstreamError(f"frames {next_frame}..{end_frame - 1} are not in the file")
            if isinstance(event, Block) and event.end_frame > next_frame:
                yield event.between(next_frame, end_frame)
                next_frame = event.end_frame

    def frames(self, first_frame: int, end_frame: int) -> tuple[Codes, Levels]:
        """Return codes [C, T, K] and levels [C, T] of a range of frames."""
        self._check_range(first_frame, end_frame)
        if end_frame - first_frame > MAX_FRAMES_PER_READ:
            raise BitstreamError(
                f"{end_frame - first_frame} frames at once, at most {MAX_FRAMES_PER_READ}",
                hint="read them with blocks()",
            )
        # Grows with what is found, not with what the index promises.
        parts = list(self.blocks(first_frame, end_frame))
        books = len(self.header.codec.code_sizes)
        no_codes = np.zeros((self.header.channels, 0, books), np.uint16)
        no_levels = np.zeros((self.header.channels, 0), np.int64)
        codes = np.concatenate([no_codes, *(part.codes for part in parts)], axis=1)
        levels = np.concatenate([no_levels, *(part.levels for part in parts)], axis=1)
        return codes, levels

    def _assembler(self) -> Assembler:
        return Assembler(self._context, self._log, self._known)

    def _events_from(self, offset: int, assembler: Assembler) -> Iterator[Event]:
        return assembler.assemble(scan_records(self._window_at(offset), self._context))

    def _window_at(self, offset: int) -> ByteWindow:
        return ByteWindow(_FileSpan(self._file, offset), offset)

    def _bytes_at(self, offset: int, size: int) -> bytes:
        """Return `size` bytes, or fewer where the file ends before."""
        window = self._window_at(offset)
        window.holds(size)
        return window.peek(size)

    def _check_range(self, first_frame: int, end_frame: int) -> None:
        if not 0 <= first_frame <= end_frame <= self.frame_count:
            raise BitstreamError(
                f"frames {first_frame}..{end_frame} are not within 0..{self.frame_count}"
            )

    def _segment_at(self, frame: int) -> int:
        """Return the number of the segment that holds a frame."""
        return bisect_right(self.segments, frame, key=lambda segment: segment.end_frame)

    def _find_footer(self) -> Footer | None:
        """Return the footer that the trailer points at, or None where either is damaged."""
        file_bytes = self._file.seek(0, 2)
        trailer_offset = file_bytes - TRAILER.size
        if trailer_offset < self._data_offset:
            return None
        size, magic = TRAILER.unpack(self._bytes_at(trailer_offset, TRAILER.size))
        offset = trailer_offset - size
        if magic != END_MAGIC or offset < self._data_offset or size < FOOTER_HEADER.size:
            return None
        if footer_size(self._bytes_at(offset, FOOTER_HEADER.size), self._context) != size:
            return None
        return parse_footer(self._bytes_at(offset, size), offset, self._context)

    def _scan_segments(self) -> tuple[Segment, ...]:
        """Read the whole file once, since its index cannot be used."""
        detail = "the index at the end cannot be used, the file was read through instead"
        self._log.add(Damage(DamageReason.INDEX, detail))
        return tuple(event.segment for event in self.events() if isinstance(event, SegmentEnd))


class _FileSpan:
    """Reads on from an offset, whoever else moves the file's position in between."""

    def __init__(self, file: BinaryIO, offset: int) -> None:
        self._file = file
        self._offset = offset

    def read(self, size: int, /) -> bytes:
        self._file.seek(self._offset)
        data = self._file.read(size)
        self._offset += len(data)
        return data
