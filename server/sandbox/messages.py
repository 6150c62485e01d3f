"""The protocol between a worker and its sandbox processes, over two pipes.

Both ways a message is one byte of kind, four of length and a payload; each order is answered in
full before the next one is read.
"""

import struct
from typing import BinaryIO, Final, Literal

import msgspec

from grove.codec.errors import (
    AudioError,
    BitstreamError,
    CodecError,
    ModelMismatchError,
    TruncatedAudioError,
)

FRAME: Final = struct.Struct("<cI")
ORDER, HEAD, SAMPLES, DATA, END, ERROR = b"o", b"h", b"s", b"d", b"e", b"x"
CHOICE, PLAN, SEGMENT, CODES = b"m", b"p", b"g", b"c"
NPY_MAGIC: Final = b"\x93NUMPY"
CODES_HEAD: Final = struct.Struct("<II")


class DecodeAudio(msgspec.Struct, frozen=True, tag="decode_audio"):
    """Which file to decode, to which rate, within which limits."""

    path: str
    sample_rate_hz: int
    max_bytes: int
    max_seconds: float
    max_channels: int
    # MP3, MP4 and WebM only estimate their length; finding the true one takes a pass over the file.
    exact_length: bool


class WriteAudio(msgspec.Struct, frozen=True, tag="write_audio"):
    """Make a mono audio file of the samples that follow."""

    format: Literal["flac", "ogg"]
    sample_rate_hz: int
    samples: int | None


class ReadTokens(msgspec.Struct, frozen=True, tag="read_tokens"):
    """Say who made a token file; with the model that is then chosen, read it."""

    path: str


Order = DecodeAudio | WriteAudio | ReadTokens


class Head(msgspec.Struct, frozen=True):
    """What an audio file says it is; the counts are claims, and the second may be a guess."""

    sample_rate_hz: int
    channels: int
    declared_samples: int | None
    expected_samples: int | None


class End(msgspec.Struct, frozen=True):
    """How many samples an audio file had, at its own rate."""

    source_samples: int


class TokenHead(msgspec.Struct, frozen=True):
    """The hash of the model that made a token file, where it says so."""

    made_by: str | None


class TokenChoice(msgspec.Struct, frozen=True):
    """The model to read a token file for (a CodecSpec in JSON), and how."""

    spec: str
    accepted_models: frozenset[str]
    max_seconds: float
    conceals_damage: bool


class TokenPlan(msgspec.Struct, frozen=True):
    """A token file that was checked: the samples of each segment, and what is wrong with it."""

    frames: int
    sample_counts: tuple[int, ...] | None
    damage: tuple[str, ...]


class SegmentHead(msgspec.Struct, frozen=True):
    """Frames of one encoder run; `sample_count` is None where only the frames say."""

    skip_samples: int
    sample_count: int | None


class Refusal(msgspec.Struct, frozen=True):
    """Why the file cannot be used."""

    kind: Literal["audio", "truncated", "bitstream", "model"]
    message: str
    hint: str | None


class Channel:
    """Messages over two pipes."""

    def __init__(self, source: BinaryIO, out: BinaryIO) -> None:
        self._source = source
        self._out = out

    def take(self) -> tuple[bytes, bytes]:
        """Return the next message; its kind is empty once the pipe has ended."""
        head = self._source.read(FRAME.size)
        if len(head) < FRAME.size:
            return b"", b""
        kind, size = FRAME.unpack(head)
        return kind, self._source.read(size)

    def put(self, kind: bytes, payload: bytes = b"") -> None:
        self._out.write(FRAME.pack(kind, len(payload)) + payload)
        self._out.flush()


def refusal_of(error: CodecError) -> Refusal:
    match error:
        case ModelMismatchError():
            return Refusal("model", str(error), error.hint)
        case BitstreamError():
            return Refusal("bitstream", str(error), error.hint)
        case TruncatedAudioError():
            return Refusal("truncated", str(error), error.hint)
        case _:
            return Refusal("audio", str(error), error.hint)


def error_of(refusal: Refusal) -> CodecError:
    """Return what the other side raised."""
    match refusal.kind:
        case "model":
            return ModelMismatchError(refusal.message, refusal.hint)
        case "bitstream":
            return BitstreamError(refusal.message, refusal.hint)
        case "truncated":
            return TruncatedAudioError(refusal.message, refusal.hint)
        case "audio":
            return AudioError(refusal.message, refusal.hint)
