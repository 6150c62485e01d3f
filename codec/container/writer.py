"""Frames to a container, front to back, so that the output may be a pipe."""

import zlib
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt

from grove.codec.bitstream import Codes, pack_frames
from grove.codec.container.assembler import Levels
from grove.codec.container.header import ContainerHeader
from grove.codec.container.records import (
    BLOCK_HEADER,
    CHECKSUM,
    MAX_BLOCK_FRAMES,
    MAX_EMPTY_FRAMES_PER_BYTE,
    MAX_FRAMES,
    MAX_INDEX_ENTRIES,
    MAX_SEGMENTS,
    BlockHeader,
    FileContext,
    Footer,
    IndexEntry,
    Segment,
    block_header_bytes,
    check_counts,
    footer_bytes,
    header_bytes,
    segment_end_bytes,
    segment_start_bytes,
)
from grove.codec.errors import BitstreamError, StreamError

DEFAULT_BLOCK_FRAMES = 100
# A reader lets so many bytes stand for no more frames without a code.
MAX_EMPTY_BLOCK_FRAMES = MAX_EMPTY_FRAMES_PER_BYTE * (BLOCK_HEADER.size + CHECKSUM.size)
INDEX_SPACING_FRAMES = 1000


class ByteSink(Protocol):
    """What a writer needs of its output: a file, a pipe, a response body."""

    def write(self, data: bytes, /) -> int | None: ...

    def flush(self) -> None: ...


class Index:
    """A table to seek by, of bounded size: it grows coarser as the file grows longer."""

    def __init__(self, max_entries: int = MAX_INDEX_ENTRIES) -> None:
        self._max_entries = max_entries
        self._spacing_frames = INDEX_SPACING_FRAMES
        self.entries: list[IndexEntry] = []

    def add(self, first_frame: int, offset: int) -> None:
        """Note where the blocks that begin with `first_frame` start, unless one is near."""
        if self.entries and first_frame - self.entries[-1].first_frame < self._spacing_frames:
            return
        if len(self.entries) == self._max_entries:
            self.entries = self.entries[::2]
            self._spacing_frames *= 2
        self.entries.append(IndexEntry(first_frame, offset))


class ContainerWriter:
    """Writes a `.grv` file; until `close` it is an unfinished but readable one.

    The bytes depend on the frames and on `flush` only, not on how many frames a call brings.
    """

    def __init__(
        self, file: ByteSink, header: ContainerHeader, block_frames: int = DEFAULT_BLOCK_FRAMES
    ) -> None:
        if not 1 <= block_frames <= MAX_BLOCK_FRAMES:
            raise BitstreamError(
                f"a block has 1 to {MAX_BLOCK_FRAMES} frames, got block_frames={block_frames}"
            )
        self._file = file
        self._block_frames = block_frames
        self._offset = 0
        self._segments: list[Segment] = []
        self._index = Index()
        self._open: Segment | None = None
        self._is_closed = False
        self._written_frames = 0
        self._pending: list[tuple[Codes, Levels]] = []
        self._pending_frames = 0
        start = header_bytes(header)
        self._context = FileContext(header, zlib.crc32(start[: -CHECKSUM.size]))
        self._put(start)

    @property
    def header(self) -> ContainerHeader:
        return self._context.header

    @property
    def frame_count(self) -> int:
        """How many frames are written; complete once the segment is ended."""
        return self._written_frames

    @property
    def sample_count(self) -> int:
        """How many samples the ended segments stand for, at the codec's rate."""
        return sum(segment.sample_count for segment in self._segments)

    def begin_segment(self, skip_samples: int = 0) -> None:
        """Start codes of a new encoder run; the first one starts by itself."""
        self._check_not_closed()
        if self._open:
            raise StreamError("a segment is open already, end it first")
        if len(self._segments) == MAX_SEGMENTS:
            raise BitstreamError(f"a file has at most {MAX_SEGMENTS} segments")
        if not 0 <= skip_samples < 2**32:
            raise BitstreamError(f"skip_samples must lie in 0..{2**32 - 1}, got {skip_samples}")
        self._open = Segment(self._written_frames, self._written_frames, skip_samples, 0, 0)
        number = len(self._segments)
        self._put(segment_start_bytes(number, self._written_frames, skip_samples, self._context))

    def write(self, codes: npt.NDArray[np.integer], levels: npt.ArrayLike) -> None:
        """Append frames: codes [T, K] or [C, T, K]; levels one number, [T] or [C, T]."""
        self._check_not_closed()
        frames = _channel_first(self.header, codes)
        per_frame = _levels_of(self.header, levels, frames.shape[1])
        total = self._written_frames + self._pending_frames + frames.shape[1]
        if total > MAX_FRAMES:
            raise BitstreamError(f"a file holds at most {MAX_FRAMES} frames, got {total}")
        if self._open is None:
            self.begin_segment()
        for start, stop in _runs(per_frame):
            self._append(frames[:, start:stop], per_frame[:, start:stop])

    def flush(self) -> None:
        """Write the frames at hand as a short block, for a reader at the other end of a pipe."""
        self._write_pending()
        self._file.flush()

    def end_segment(self, sample_count: int, source_sample_count: int | None = None) -> None:
        """End the open segment; the counts are samples at the codec's and at the source's rate."""
        self._check_not_closed()
        if self._open is None:
            self.begin_segment()
        assert self._open
        if source_sample_count is None:
            if self.header.source_sample_rate_hz != self.header.codec.sample_rate_hz:
                raise BitstreamError(
                    f"the source has {self.header.source_sample_rate_hz} Hz, the codec "
                    f"{self.header.codec.sample_rate_hz} Hz: state source_sample_count"
                )
            source_sample_count = sample_count
        self._write_pending()
        segment = Segment(
            self._open.first_frame,
            self._written_frames,
            self._open.skip_samples,
            sample_count,
            source_sample_count,
        )
        check_counts(segment, self.header)
        self._put(segment_end_bytes(len(self._segments), segment, self._context))
        self._segments.append(segment)
        self._open = None

    def close(self, sample_count: int, source_sample_count: int | None = None) -> None:
        """End the open segment and the file."""
        self.end_segment(sample_count, source_sample_count)
        self.finish()

    def finish(self) -> None:
        """End the file, all segments being ended; the output itself stays open."""
        self._check_not_closed()
        if self._open:
            raise StreamError("a segment is open, end it before the file")
        footer = Footer(
            tuple(self._segments), tuple(self._index.entries), self._written_frames, self._offset
        )
        self._put(footer_bytes(footer, self._context))
        self._file.flush()
        self._is_closed = True

    def _append(self, codes: Codes, levels: Levels) -> None:
        """Take frames of one level per channel, and write every block that becomes full."""
        if self._pending and (self._pending[0][1][:, 0] != levels[:, 0]).any():
            self._write_pending()
        start, frame_count = 0, codes.shape[1]
        is_empty = not levels[:, 0].any()
        limit = min(self._block_frames, MAX_EMPTY_BLOCK_FRAMES) if is_empty else self._block_frames
        while start < frame_count:
            stop = min(frame_count, start + limit - self._pending_frames)
            # A copy, since the caller may use its buffer again before the block is full.
            self._pending.append((codes[:, start:stop].copy(), levels[:, start:stop].copy()))
            self._pending_frames += stop - start
            if self._pending_frames == limit:
                self._write_pending()
            start = stop

    def _write_pending(self) -> None:
        if not self._pending:
            return
        codes = np.concatenate([part for part, _ in self._pending], axis=1)
        levels = self._pending[0][1][:, 0]
        payloads = [
            pack_frames(self.header.codec, channel_codes, int(level))
            for channel_codes, level in zip(codes, levels, strict=True)
        ]
        self._index.add(self._written_frames, self._offset)
        for channel, payload in enumerate(payloads):
            block = BlockHeader(
                channel=channel,
                level=int(levels[channel]),
                segment=len(self._segments),
                first_frame=self._written_frames,
                frame_count=self._pending_frames,
            )
            self._put(self._context.sealed(block_header_bytes(block, self._context) + payload))
        self._written_frames += self._pending_frames
        self._pending, self._pending_frames = [], 0

    def _put(self, data: bytes) -> None:
        """Write all bytes, also where the output takes only some at a time."""
        view = memoryview(data)
        while view:
            written = self._file.write(bytes(view))
            if written == 0:
                raise StreamError(f"the output took none of {len(view)} bytes")
            view = view[len(view) if written is None else written :]
        self._offset += len(data)

    def _check_not_closed(self) -> None:
        if self._is_closed:
            raise StreamError("the container is closed, nothing can be added")


def _channel_first(header: ContainerHeader, codes: npt.NDArray[np.integer]) -> Codes:
    """Return codes [C, T, K], whichever way they came."""
    frames = codes[None] if codes.ndim == 2 and header.channels == 1 else codes
    books = len(header.codec.code_sizes)
    if frames.ndim != 3 or frames.shape[0] != header.channels or frames.shape[2] != books:
        raise BitstreamError(
            f"codes must have the shape [{header.channels}, T, {books}], got {codes.shape}"
        )
    if not np.issubdtype(frames.dtype, np.integer):
        raise BitstreamError(f"codes must be integers, got {frames.dtype}")
    if frames.size and (frames.min() < 0 or frames.max() > 65_535):
        raise BitstreamError(f"codes reach from {frames.min()} to {frames.max()}, not 0..65535")
    return frames.astype(np.uint16, copy=False)


def _levels_of(header: ContainerHeader, levels: npt.ArrayLike, frame_count: int) -> Levels:
    """Return levels [C, T] for one number, [T] or [C, T]."""
    given = np.asarray(levels)
    shape = (header.channels, frame_count)
    if given.shape not in ((), (frame_count,), shape):
        raise BitstreamError(
            f"levels must be one number or have the shape {shape}, got {given.shape}"
        )
    if not np.issubdtype(given.dtype, np.integer) and given.size:
        raise BitstreamError(f"levels must be integers, got {given.dtype}")
    if given.size and (given.min() < 0 or given.max() > header.codec.levels):
        raise BitstreamError(
            f"levels must lie in 0..{header.codec.levels}, got {given.min()} to {given.max()}"
        )
    return np.broadcast_to(given.astype(np.int64), shape)


def _runs(levels: Levels) -> list[tuple[int, int]]:
    """Return the ranges of frames in which no channel changes its level."""
    frame_count = levels.shape[1]
    if frame_count == 0:
        return []
    changes = np.flatnonzero((levels[:, 1:] != levels[:, :-1]).any(axis=0)) + 1
    edges = [0, *changes.tolist(), frame_count]
    return list(pairwise(edges))
