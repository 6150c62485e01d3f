"""The records of a container, byte for byte as BITSTREAM.md lays them down. All big-endian."""

import zlib
from binascii import crc_hqx
from dataclasses import dataclass
from struct import Struct

from grove.codec.config import CodecSpec
from grove.codec.container.header import ContainerHeader
from grove.codec.errors import BitstreamError

VERSION = 1
MAGIC = b"\x89GRV\r\n\x1a\n"
END_MAGIC = b"GRVEND\r\n"
MARKER_PREFIX = b"\xf5Gv"
BLOCK_MARKER = MARKER_PREFIX + b"B"
SEGMENT_START_MARKER = MARKER_PREFIX + b"S"
SEGMENT_END_MARKER = MARKER_PREFIX + b"E"
FOOTER_MARKER = MARKER_PREFIX + b"F"

PREAMBLE = Struct(">8sHHI")
BLOCK_HEADER = Struct(">4sBBHIHH")
SEGMENT_START = Struct(">4sHIII")
SEGMENT_END = Struct(">4sHIQQI")
FOOTER_HEADER = Struct(">4sHIIQH")
SEGMENT_ENTRY = Struct(">IIIQQ")
INDEX_ENTRY = Struct(">IQ")
CHECKSUM = Struct(">I")
TRAILER = Struct(">I8s")

MAX_BLOCK_FRAMES = 1024
MAX_FRAMES = 2**32 - 1
MAX_SEGMENTS = 65_535
MAX_INDEX_ENTRIES = 65_536
MAX_TAIL_FRAMES = 4
MAX_SOURCE_DRIFT_SAMPLES = 4
MAX_EMPTY_FRAMES = 1_500
MAX_EMPTY_FRAMES_PER_BYTE = 8
MAX_LOST_SEGMENTS = 1_024


@dataclass(frozen=True, slots=True)
class Segment:
    """Frames of one encoder run, and which samples of what they decode to count."""

    first_frame: int
    end_frame: int
    skip_samples: int
    sample_count: int
    source_sample_count: int

    @property
    def frame_count(self) -> int:
        return self.end_frame - self.first_frame


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """Which frames of which channel a block holds, and at what level."""

    channel: int
    level: int
    segment: int
    first_frame: int
    frame_count: int


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """Where the blocks that begin with a frame start."""

    first_frame: int
    offset: int


@dataclass(frozen=True, slots=True)
class Footer:
    """What a finished file says about itself."""

    segments: tuple[Segment, ...]
    entries: tuple[IndexEntry, ...]
    frame_count: int
    offset: int


@dataclass(frozen=True, slots=True)
class FileContext:
    """What every record of a file is checked against; `crc` is the header's, and seeds all others.

    A record of another file therefore never passes, unless the two headers are equal.
    """

    header: ContainerHeader
    crc: int

    @property
    def spec(self) -> CodecSpec:
        return self.header.codec

    def crc16(self, data: bytes) -> int:
        return crc_hqx(data, self.crc & 0xFFFF)

    def crc32(self, data: bytes) -> int:
        return zlib.crc32(data, self.crc)

    def sealed(self, data: bytes) -> bytes:
        """Return the data with its checksum behind it."""
        return data + CHECKSUM.pack(self.crc32(data))

    def is_intact(self, data: bytes) -> bool:
        """Tell whether the checksum at the end of the data is right."""
        return data[-CHECKSUM.size :] == CHECKSUM.pack(self.crc32(data[: -CHECKSUM.size]))


def header_bytes(header: ContainerHeader) -> bytes:
    """Return the first bytes of a file: preamble, header and checksum."""
    text = header.to_json()
    data = PREAMBLE.pack(MAGIC, VERSION, 0, len(text)) + text
    return data + CHECKSUM.pack(zlib.crc32(data))


def block_header_bytes(block: BlockHeader, context: FileContext) -> bytes:
    """Return the header of a block, with its own checksum."""
    data = BLOCK_HEADER.pack(
        BLOCK_MARKER,
        block.channel,
        block.level,
        block.segment,
        block.first_frame,
        block.frame_count,
        0,
    )[:-2]
    return data + context.crc16(data).to_bytes(2, "big")


def parse_block_header(data: bytes, context: FileContext) -> BlockHeader | None:
    """Return the header of a block, or None where the bytes are no such thing."""
    _, channel, level, segment, first_frame, frame_count, crc = BLOCK_HEADER.unpack(data)
    valid = (
        crc == context.crc16(data[:-2])
        and channel < context.header.channels
        and level <= context.spec.levels
        and segment < MAX_SEGMENTS
        and 1 <= frame_count <= MAX_BLOCK_FRAMES
        and first_frame + frame_count <= MAX_FRAMES
    )
    return BlockHeader(channel, level, segment, first_frame, frame_count) if valid else None


def segment_start_bytes(
    number: int, first_frame: int, skip_samples: int, context: FileContext
) -> bytes:
    """Return the record that opens a segment."""
    data = SEGMENT_START.pack(SEGMENT_START_MARKER, number, first_frame, skip_samples, 0)
    return context.sealed(data[: -CHECKSUM.size])


def segment_end_bytes(number: int, segment: Segment, context: FileContext) -> bytes:
    """Return the record that closes a segment."""
    counts = (segment.sample_count, segment.source_sample_count)
    data = SEGMENT_END.pack(SEGMENT_END_MARKER, number, segment.end_frame, *counts, 0)
    return context.sealed(data[: -CHECKSUM.size])


def footer_bytes(footer: Footer, context: FileContext) -> bytes:
    """Return footer and trailer, the last bytes of a finished file."""
    head = FOOTER_HEADER.pack(
        FOOTER_MARKER,
        len(footer.segments),
        len(footer.entries),
        footer.frame_count,
        footer.offset,
        0,
    )[:-2]
    body = [head, context.crc16(head).to_bytes(2, "big")]
    for segment in footer.segments:
        frames = (segment.first_frame, segment.end_frame, segment.skip_samples)
        body.append(SEGMENT_ENTRY.pack(*frames, segment.sample_count, segment.source_sample_count))
    body += [INDEX_ENTRY.pack(entry.first_frame, entry.offset) for entry in footer.entries]
    data = context.sealed(b"".join(body))
    return data + TRAILER.pack(len(data), END_MAGIC)


def footer_size(head: bytes, context: FileContext) -> int | None:
    """Return how many bytes a footer that starts with `head` has, or None if it is none."""
    marker, segment_count, entry_count, _, _, crc = FOOTER_HEADER.unpack(head)
    if marker != FOOTER_MARKER or crc != context.crc16(head[:-2]):
        return None
    if entry_count > MAX_INDEX_ENTRIES or segment_count > MAX_SEGMENTS:
        return None
    tables = segment_count * SEGMENT_ENTRY.size + entry_count * INDEX_ENTRY.size
    return FOOTER_HEADER.size + int(tables) + CHECKSUM.size


def parse_footer(data: bytes, offset: int, context: FileContext) -> Footer | None:
    """Return the footer found at byte `offset`, or None where it is damaged or absurd."""
    if footer_size(data[: FOOTER_HEADER.size], context) != len(data) or not context.is_intact(data):
        return None
    _, segment_count, _, frame_count, stated_offset, _ = FOOTER_HEADER.unpack_from(data)
    middle = FOOTER_HEADER.size + segment_count * SEGMENT_ENTRY.size
    segments = tuple(
        Segment(*fields) for fields in SEGMENT_ENTRY.iter_unpack(data[FOOTER_HEADER.size : middle])
    )
    entries = tuple(
        IndexEntry(*fields) for fields in INDEX_ENTRY.iter_unpack(data[middle : -CHECKSUM.size])
    )
    footer = Footer(segments, entries, frame_count, stated_offset)
    return footer if offset == stated_offset and _is_consistent(footer, context) else None


def _is_consistent(footer: Footer, context: FileContext) -> bool:
    end_frame = 0
    for segment in footer.segments:
        if segment.first_frame != end_frame or segment.end_frame < end_frame:
            return False
        if count_problem(segment, context.header):
            return False
        end_frame = segment.end_frame
    previous = IndexEntry(-1, 0)
    for entry in footer.entries:
        if entry.first_frame <= previous.first_frame or entry.offset <= previous.offset:
            return False
        previous = entry
    return (
        end_frame == footer.frame_count
        and previous.first_frame < max(footer.frame_count, 0)
        and previous.offset < footer.offset
        and may_hold(footer.frame_count, footer.offset, context)
    )


def may_hold(empty_frames: int, byte_count: int, context: FileContext) -> bool:
    """Tell whether so many bytes of a file may stand for so many frames without a code.

    Level 0 takes no bits, and a gap no bytes: else a few bytes could claim days of audio.
    """
    bound = MAX_EMPTY_FRAMES + MAX_EMPTY_FRAMES_PER_BYTE * byte_count
    return empty_frames * context.header.channels <= bound


def may_be_lost(segments: int, byte_count: int) -> bool:
    """Tell whether so many segments may be missing from so many bytes of a file."""
    smallest = SEGMENT_START.size + SEGMENT_END.size
    return segments <= MAX_LOST_SEGMENTS + byte_count // smallest


def available_samples(spec: CodecSpec, segment: Segment) -> int:
    """Return how many samples a segment's frames decode to, after delay and skip."""
    return max(0, spec.decodable_samples(segment.frame_count) - segment.skip_samples)


def count_problem(segment: Segment, header: ContainerHeader) -> str | None:
    """Say what is wrong with a segment's sample counts, or None.

    The bounds let a reader cut the end with a few frames in hand, and let nobody claim hours of
    audio in a file of a few bytes.
    """
    spec = header.codec
    available = available_samples(spec, segment)
    tail = available - segment.sample_count
    if tail < 0 or tail > MAX_TAIL_FRAMES * spec.hop_samples:
        return (
            f"{segment.frame_count} frames hold {available} samples, and at most "
            f"{MAX_TAIL_FRAMES} frames may be left over, got {segment.sample_count} samples"
        )
    source_hz, codec_hz = header.source_sample_rate_hz, spec.sample_rate_hz
    drift = abs(segment.source_sample_count * codec_hz - segment.sample_count * source_hz)
    if drift > MAX_SOURCE_DRIFT_SAMPLES * max(source_hz, codec_hz):
        return (
            f"{segment.source_sample_count} samples at {source_hz} Hz do not last as long as "
            f"{segment.sample_count} samples at {codec_hz} Hz"
        )
    return None


def check_counts(segment: Segment, header: ContainerHeader) -> None:
    """Refuse sample counts that a reader would refuse."""
    problem = count_problem(segment, header)
    if problem:
        raise BitstreamError(problem)


def scaled_sample_count(sample_count: int, header: ContainerHeader) -> int:
    """Return how many samples at the source's rate last as long, rounded half up."""
    codec_hz = header.codec.sample_rate_hz
    return (2 * sample_count * header.source_sample_rate_hz + codec_hz) // (2 * codec_hz)
