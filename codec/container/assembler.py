"""Records to frames in order: gaps become zero-level frames, and everything wrong is logged."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from grove.codec.bitstream import Codes, unpack_frames
from grove.codec.container.damage import Damage, DamageLog, DamageReason
from grove.codec.container.records import (
    MAX_BLOCK_FRAMES,
    FileContext,
    Segment,
    available_samples,
    count_problem,
    may_be_lost,
    may_hold,
    scaled_sample_count,
)
from grove.codec.container.scan import (
    BlockRecord,
    EndRecord,
    FooterRecord,
    Garbage,
    Record,
    StartRecord,
)
from grove.codec.errors import BitstreamError

Levels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SegmentStart:
    """A decoder starts anew here; its first delay + `skip_samples` samples are dropped."""

    number: int
    first_frame: int
    skip_samples: int


@dataclass(frozen=True, slots=True)
class Block:
    """Frames in a row: codes [C, T, K] and levels [C, T], level 0 where frames are lost."""

    segment: int
    first_frame: int
    codes: Codes
    levels: Levels

    @property
    def end_frame(self) -> int:
        return self.first_frame + len(self.levels[0])

    def between(self, first_frame: int, end_frame: int) -> "Block":
        """Return the part of the block that lies within the given frames."""
        start = max(first_frame, self.first_frame) - self.first_frame
        stop = min(end_frame, self.end_frame) - self.first_frame
        codes, levels = self.codes[:, start:stop], self.levels[:, start:stop]
        return Block(self.segment, self.first_frame + start, codes, levels)


@dataclass(frozen=True, slots=True)
class SegmentEnd:
    """The counts of a finished segment; not `exact` where they had to be derived from frames."""

    number: int
    segment: Segment
    exact: bool


Event = SegmentStart | Block | SegmentEnd


@dataclass(slots=True)
class _Group:
    """The blocks of all channels for the same frames."""

    segment: int
    first_frame: int
    frame_count: int
    blocks: list[BlockRecord | None]

    @property
    def end_frame(self) -> int:
        return self.first_frame + self.frame_count

    @property
    def is_empty(self) -> bool:
        """Whether no block of it has a payload; intact or not, a payload took bytes."""
        return not any(record.header.level for record in self.blocks if record)


class Assembler:
    """Puts the records of one pass in order. `known` segments stand in for lost records."""

    def __init__(
        self, context: FileContext, damage: DamageLog, known: tuple[Segment, ...] = ()
    ) -> None:
        self._context = context
        self._damage = damage
        self._known = known
        self._segment = -1
        self._is_open = False
        self._first_frame = 0
        self._skip_samples = 0
        self._is_skip_known = True
        self._next_frame = 0
        self._bytes_before = 0
        self._empty_frames = 0
        self._lost_segments = 0
        self._ended: list[Segment] = []
        self._group: _Group | None = None

    def resume(self, segment: int, next_frame: int) -> None:
        """Take up the pass in the middle of a known segment."""
        self._segment, self._is_open, self._next_frame = segment, True, next_frame
        self._first_frame = self._known[segment].first_frame
        self._skip_samples = self._known[segment].skip_samples

    def assemble(self, records: Iterable[Record]) -> Iterator[Event]:
        """Yield what a source holds, up to its footer or its end."""
        for record in records:
            yield from self._feed(record)
            if isinstance(record, FooterRecord) and record.footer:
                return
        yield from self._finish()

    def _feed(self, record: Record) -> Iterator[Event]:
        self._bytes_before = record.offset
        match record:
            case Garbage():
                where = f"{record.byte_count} bytes at byte {record.offset} are no intact record"
                self._report(DamageReason.GARBAGE, where)
            case BlockRecord():
                yield from self._on_block(record)
            case StartRecord():
                yield from self._on_start(record)
            case EndRecord():
                yield from self._on_end(record)
            case FooterRecord():
                yield from self._on_footer(record)

    def _finish(self) -> Iterator[Event]:
        yield from self._flush()
        detail = f"the file ends after frame {self._next_frame} without its footer"
        self._report(DamageReason.UNFINISHED, detail)
        yield from self._leave(self._next_frame)

    def _on_block(self, record: BlockRecord) -> Iterator[Event]:
        block, group = record.header, self._group
        if group and _belongs(record, group):
            group.blocks[block.channel] = record
            if all(group.blocks):
                yield from self._flush()
            return
        yield from self._flush()
        if block.segment > self._segment and self._may_begin(block.segment):
            yield from self._enter(block.segment, block.first_frame, None)
        in_order = (
            self._is_open
            and block.segment == self._segment
            and block.first_frame >= self._next_frame
            and self._is_plausible(block.first_frame)
        )
        if not in_order:
            self._pass_over(record)
            return
        yield from self._fill(block.first_frame)
        channels = self._context.header.channels
        self._group = _Group(block.segment, block.first_frame, block.frame_count, [None] * channels)
        self._group.blocks[block.channel] = record
        if channels == 1:
            yield from self._flush()

    def _on_start(self, record: StartRecord) -> Iterator[Event]:
        yield from self._flush()
        stale = record.number <= self._segment or record.first_frame < self._next_frame
        if stale or not self._may_begin(record.number):
            where = f"start of segment {record.number} at byte {record.offset}"
            self._report(DamageReason.ORDER, f"{where} is out of place, not used")
            return
        yield from self._enter(record.number, record.first_frame, record.skip_samples)

    def _on_end(self, record: EndRecord) -> Iterator[Event]:
        yield from self._flush()
        if record.number > self._segment and self._may_begin(record.number):
            yield from self._enter(record.number, self._next_frame, None)
        stale = record.number != self._segment or not self._is_open
        if stale or record.end_frame < self._next_frame or not self._is_plausible(record.end_frame):
            where = f"end of segment {record.number} at byte {record.offset}"
            self._report(DamageReason.ORDER, f"{where} is out of place, not used")
            return
        yield from self._fill(record.end_frame)
        yield self._closed(record.sample_count, record.source_sample_count)

    def _on_footer(self, record: FooterRecord) -> Iterator[Event]:
        yield from self._flush()
        footer = record.footer
        if footer is None:
            self._report(DamageReason.INDEX, f"the footer at byte {record.offset} is damaged")
            return
        if not self._known:
            self._compare(footer.segments)
            self._known = footer.segments
        yield from self._leave(footer.frame_count)
        while self._segment + 1 < len(self._known):
            yield from self._begin(self._segment + 1, None)
            yield from self._leave(footer.frame_count)
        if footer.frame_count != self._next_frame or len(footer.segments) != self._segment + 1:
            claim = f"{footer.frame_count} frames in {len(footer.segments)} segments"
            found = f"{self._next_frame} in {self._segment + 1}"
            self._report(DamageReason.INDEX, f"the footer states {claim}, found {found}")
        if not record.has_trailer:
            self._report(DamageReason.INDEX, "the trailer behind the footer is missing or damaged")
        if record.trailing_bytes:
            amount = f"at least {record.trailing_bytes} bytes"
            self._report(DamageReason.TRAILING, f"{amount} follow the end of the file, not used")

    def _compare(self, stated: tuple[Segment, ...]) -> None:
        """Report where an index that stands behind the segments contradicts them."""
        for number, (found, listed) in enumerate(zip(self._ended, stated, strict=False)):
            if found != listed:
                self._report(DamageReason.INDEX, f"the index gives segment {number} as {listed}")

    def _enter(self, number: int, first_frame: int, skip_samples: int | None) -> Iterator[Event]:
        """Begin a segment, after what is missing before it."""
        yield from self._leave(first_frame)
        while self._segment + 1 < number:
            self._lost_segments += 1
            yield from self._begin(self._segment + 1, None)
            yield from self._leave(first_frame)
        yield from self._begin(number, skip_samples)

    def _may_begin(self, number: int) -> bool:
        """Tell whether the segments up to `number` may be lost; what the index lists may be."""
        if number < len(self._known):
            return True
        lost = self._lost_segments + number - self._segment - 1
        return may_be_lost(lost, self._bytes_before)

    def _begin(self, number: int, skip_samples: int | None) -> Iterator[Event]:
        self._segment, self._is_open, self._is_skip_known = number, True, True
        if skip_samples is None:
            known = self._known_segment()
            skip_samples, self._is_skip_known = (known.skip_samples, True) if known else (0, False)
            self._report(DamageReason.SEGMENT, f"the start of segment {number} is lost")
        self._first_frame, self._skip_samples = self._next_frame, skip_samples
        yield SegmentStart(number, self._next_frame, skip_samples)

    def _leave(self, next_segment_frame: int) -> Iterator[Event]:
        """Close the open segment, whose end record is lost."""
        if not self._is_open:
            return
        known = self._known_segment()
        end_frame = known.end_frame if known else next_segment_frame
        if self._is_plausible(end_frame):
            yield from self._fill(end_frame)
        self._report(DamageReason.SEGMENT, f"the end of segment {self._segment} is lost")
        if known:
            yield self._closed(known.sample_count, known.source_sample_count)
        else:
            yield self._closed(None, 0)

    def _closed(self, sample_count: int | None, source_sample_count: int) -> SegmentEnd:
        """Close the open segment; counts that cannot be are replaced by what the frames hold."""
        self._is_open = False
        header = self._context.header
        whole = Segment(self._first_frame, self._next_frame, self._skip_samples, 0, 0)
        if sample_count is not None and self._is_skip_known:
            segment = replace(
                whole, sample_count=sample_count, source_sample_count=source_sample_count
            )
            problem = count_problem(segment, header)
            known = self._known_segment()
            if known and known != segment:
                self._report(
                    DamageReason.INDEX, f"the index gives segment {self._segment} as {known}"
                )
            if problem is None:
                self._ended.append(segment)
                return SegmentEnd(self._segment, segment, exact=True)
            self._report(DamageReason.SEGMENT, f"segment {self._segment}: {problem}")
        available = available_samples(header.codec, whole)
        source = scaled_sample_count(available, header)
        segment = replace(whole, sample_count=available, source_sample_count=source)
        self._ended.append(segment)
        return SegmentEnd(self._segment, segment, exact=False)

    def _known_segment(self) -> Segment | None:
        return self._known[self._segment] if self._segment < len(self._known) else None

    def _is_plausible(self, frame: int) -> bool:
        """Tell whether the file may be without a code up to `frame`."""
        empty = self._empty_frames + frame - self._next_frame
        return may_hold(empty, self._bytes_before, self._context)

    def _fill(self, frame: int) -> Iterator[Block]:
        """Yield zero-level frames up to `frame`."""
        missing = frame - self._next_frame
        if missing > 0:
            first = self._next_frame
            self._empty_frames += missing
            self._report(DamageReason.MISSING, "no block holds these frames", first, missing)
        while self._next_frame < frame:
            yield self._empty_block(min(frame - self._next_frame, MAX_BLOCK_FRAMES))

    def _empty_block(self, frame_count: int) -> Block:
        shape = (self._context.header.channels, frame_count)
        codes = np.zeros((*shape, len(self._context.spec.code_sizes)), np.uint16)
        block = Block(self._segment, self._next_frame, codes, np.zeros(shape, np.int64))
        self._next_frame += frame_count
        return block

    def _flush(self) -> Iterator[Block]:
        """Yield the group at hand; channels without an intact block get zero levels."""
        group, self._group = self._group, None
        if group is None:
            return
        if group.is_empty:
            if not self._is_plausible(group.end_frame):
                for refused in filter(None, group.blocks):
                    self._pass_over(refused)
                return
            self._empty_frames += group.frame_count
        block = self._empty_block(group.frame_count)
        for channel, record in enumerate(group.blocks):
            frames = (group.first_frame, group.frame_count, channel)
            if record is None:
                self._report(DamageReason.MISSING, "the channel's block is missing", *frames)
            elif record.payload is None:
                detail = f"the block at byte {record.offset} is damaged"
                self._report(DamageReason.CHECKSUM, detail, *frames)
            else:
                self._unpack_into(block, channel, record, record.payload)
        yield block

    def _pass_over(self, record: BlockRecord) -> None:
        block = record.header
        end = block.first_frame + block.frame_count
        where = f"block of frames {block.first_frame}..{end - 1} at byte {record.offset}"
        self._report(DamageReason.ORDER, f"{where} is out of place, not used")

    def _unpack_into(self, block: Block, channel: int, record: BlockRecord, payload: bytes) -> None:
        header = record.header
        try:
            codes = unpack_frames(self._context.spec, payload, header.frame_count, header.level)
        except BitstreamError as error:
            frames = (header.first_frame, header.frame_count, channel)
            self._report(DamageReason.CODES, f"byte {record.offset}: {error}", *frames)
            return
        block.codes[channel] = codes
        block.levels[channel] = header.level

    def _report(
        self,
        reason: DamageReason,
        detail: str,
        first_frame: int = 0,
        frame_count: int = 0,
        channel: int | None = None,
    ) -> None:
        self._damage.add(Damage(reason, detail, first_frame, frame_count, channel))


def _belongs(record: BlockRecord, group: _Group) -> bool:
    block = record.header
    return (
        (block.segment, block.first_frame, block.frame_count)
        == (group.segment, group.first_frame, group.frame_count)
    ) and group.blocks[block.channel] is None
