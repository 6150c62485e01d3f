"""Messages, packets, errors and close codes of PROTOCOL.md, without any I/O."""

from enum import Enum
from typing import Final, Literal, get_args

import msgspec

from grove.codec.errors import CodecError

LEAST_HEAD_BYTES: Final = 2
MAX_PACKET_FRAMES: Final = (1 << 14) - 1
KIND_AUDIO: Final = 1
KIND_TOKENS: Final = 2
MAX_LOST_FRAMES: Final = 1500
SUBPROTOCOL_BINARY: Final = "grove.v1"
SUBPROTOCOL_JSON: Final = "grove.v1.json"
SUBPROTOCOL_KEY: Final = "grove.key."
CLOSE_DONE: Final = 1000

Mode = Literal["encode", "decode", "transcode"]
Encoding = Literal["pcm_s16le", "pcm_f32le", "mulaw", "alaw"]
Pace = Literal["realtime", "file"]

_TOKENS_BIT: Final = 0x80


class ErrorCode(Enum):
    """Every typed error of a session; the value is what the client reads."""

    UNKNOWN_MESSAGE = "unknown_message"
    BAD_MESSAGE = "bad_message"
    BAD_LEVELS = "bad_levels"
    INVALID_SETTINGS = "invalid_settings"
    BAD_PACKET = "bad_packet"
    BAD_SEQUENCE = "bad_sequence"
    UNKNOWN_MODEL = "unknown_model"
    BAD_AUDIO = "bad_audio"
    BAD_TOKENS = "bad_tokens"
    TOO_FAST = "too_fast"
    SLOW_READER = "slow_reader"
    IDLE = "idle"
    SESSION_LIMIT = "session_limit"
    REPLACED = "replaced"
    RESUME_FAILED = "resume_failed"
    TOO_MANY_SESSIONS = "too_many_sessions"
    AFTER_FINALIZE = "after_finalize"
    DRAINING = "draining"
    ENGINE_FAILED = "engine_failed"
    OVERLOADED = "overloaded"

    @property
    def close_code(self) -> int | None:
        """Return what the connection closes with, None where it stays open."""
        return _CLOSE_CODES.get(self)


_CLOSE_CODES: Final[dict[ErrorCode, int]] = {
    ErrorCode.INVALID_SETTINGS: 4000,
    ErrorCode.BAD_PACKET: 4002,
    ErrorCode.BAD_SEQUENCE: 4003,
    ErrorCode.UNKNOWN_MODEL: 4004,
    ErrorCode.BAD_AUDIO: 4005,
    ErrorCode.BAD_TOKENS: 4006,
    ErrorCode.TOO_FAST: 4007,
    ErrorCode.SLOW_READER: 4008,
    ErrorCode.IDLE: 4009,
    ErrorCode.SESSION_LIMIT: 4010,
    ErrorCode.REPLACED: 4011,
    ErrorCode.RESUME_FAILED: 4012,
    ErrorCode.TOO_MANY_SESSIONS: 4013,
    ErrorCode.AFTER_FINALIZE: 4014,
    ErrorCode.DRAINING: 4100,
    ErrorCode.ENGINE_FAILED: 4101,
    ErrorCode.OVERLOADED: 1013,
}


class SessionError(CodecError):
    """A fault of one session, as its client is told it."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        hint: str | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.code = code
        self.retry_after_seconds = retry_after_seconds

    @property
    def close_code(self) -> int | None:
        return self.code.close_code

    @property
    def fatal(self) -> bool:
        return self.close_code is not None


# --- packets ------------------------------------------------------------------------------


class PacketHead(msgspec.Struct, frozen=True, gc=False):
    """The 2 to 4 bytes before each payload, and where that starts. Of audio, only the sequence."""

    kind: int
    low_sequence: int
    levels: int
    count: int
    size_bytes: int


class PacketHeader(msgspec.Struct, frozen=True, gc=False):
    """What either subprotocol says of a payload."""

    sequence: int
    index: int
    count: int
    levels: int
    kind: int


def audio_head(sequence: int) -> bytes:
    return bytes((0, sequence & 0xFF))


def tokens_head(sequence: int, levels: int, count: int) -> bytes:
    """Return the bytes before `count` frames of `levels` levels."""
    assert 0 <= count <= MAX_PACKET_FRAMES, f"{count} frames in a packet"
    if count < 0x80:
        return bytes((_TOKENS_BIT | levels, sequence & 0xFF, count))
    return bytes((_TOKENS_BIT | levels, sequence & 0xFF, 0x80 | count & 0x7F, count >> 7))


def unpack_head(packet: bytes) -> PacketHead:
    """Return the head of a packet."""
    if len(packet) < LEAST_HEAD_BYTES:
        raise SessionError(
            ErrorCode.BAD_PACKET,
            f"a packet has at least {LEAST_HEAD_BYTES} bytes, got {len(packet)}",
        )
    first, low = packet[0], packet[1]
    if first == 0:
        return PacketHead(KIND_AUDIO, low, 0, 0, LEAST_HEAD_BYTES)
    if not first & _TOKENS_BIT:
        raise SessionError(
            ErrorCode.BAD_PACKET, f"a packet starts with {first:#04x}, expected 0 or bit 7 set"
        )
    count = _count(packet)
    return PacketHead(KIND_TOKENS, low, first & 0x7F, count, 3 if packet[2] < 0x80 else 4)


def _count(packet: bytes) -> int:
    """Return a number whose lower 7 bits come first; the top bit says that a byte follows."""
    size = 4 if len(packet) > 2 and packet[2] >= 0x80 else 3
    if len(packet) < size or (size == 4 and packet[3] >= 0x80):
        raise SessionError(
            ErrorCode.BAD_PACKET,
            f"a count of frames of one or two bytes is missing in {packet[:4]!r}",
        )
    return packet[2] if size == 3 else packet[2] & 0x7F | packet[3] << 7


def full_sequence(low: int, expected: int) -> int:
    """Return the number nearest to the expected one that ends in these 8 bits."""
    return expected + ((low - expected + 0x80) & 0xFF) - 0x80


# --- control messages from the client -----------------------------------------------------


class _FromClient(msgspec.Struct, frozen=True, tag_field="type"):
    pass


class SetLevels(_FromClient, frozen=True, tag="levels"):
    levels: int


class Flush(_FromClient, frozen=True, tag="flush"):
    id: str | None = None


class Finalize(_FromClient, frozen=True, tag="finalize"):
    pass


class Clear(_FromClient, frozen=True, tag="clear"):
    pass


class Ping(_FromClient, frozen=True, tag="ping"):
    id: str | None = None


class Lost(_FromClient, frozen=True, tag="lost"):
    from_: int = msgspec.field(name="from")
    count: int


class Ack(_FromClient, frozen=True, tag="ack"):
    sequence: int


class AudioIn(_FromClient, frozen=True, tag="audio"):
    sequence: int
    data: bytes


class TokensIn(_FromClient, frozen=True, tag="tokens"):
    sequence: int
    index: int
    count: int
    levels: int
    data: bytes


ClientMessage = SetLevels | Flush | Finalize | Clear | Ping | Lost | Ack | AudioIn | TokensIn
CLIENT_MESSAGES: Final[tuple[type[_FromClient], ...]] = get_args(ClientMessage)


# --- messages from the server -------------------------------------------------------------


class ModelInfo(msgspec.Struct, frozen=True):
    name: str
    version: str
    sha256: str
    sample_rate_hz: int
    hop_samples: int
    code_sizes: tuple[int, ...]
    codes_per_level: tuple[int, ...]


class Delay(msgspec.Struct, frozen=True):
    algorithmic_ms: float
    resampler_ms: float


class SessionLimits(msgspec.Struct, frozen=True):
    message_bytes: int
    idle_seconds: float
    session_seconds: float
    ahead_ms: float


class ResumeInfo(msgspec.Struct, frozen=True):
    token: str
    seconds: float


class _FromServer(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True):
    pass


class SessionCreated(_FromServer, frozen=True, tag="session.created"):
    session_id: str
    mode: Mode
    encoding: Encoding
    sample_rate_hz: int
    channels: int
    levels: int
    pace: Pace
    frames_per_packet: int
    subprotocol: str
    model: ModelInfo
    delay: Delay
    limits: SessionLimits
    resume: ResumeInfo


class SessionResumed(_FromServer, frozen=True, tag="session.resumed"):
    session_id: str
    next_sequence: int
    sequence: int


class SessionWarning(_FromServer, frozen=True, tag="session.warning"):
    code: str
    message: str


class SessionDraining(_FromServer, frozen=True, tag="session.draining"):
    seconds: float


class SessionClosed(_FromServer, frozen=True, tag="session.closed"):
    sequence: int
    frames: int
    samples: int
    seconds: float
    sha256: str


class LevelsChanged(_FromServer, frozen=True, tag="levels.changed"):
    levels: int
    index: int


class Flushed(_FromServer, frozen=True, tag="flushed"):
    sequence: int
    frames: int
    pending_samples: int
    id: str | None = None


class Cleared(_FromServer, frozen=True, tag="cleared"):
    index: int


class Pong(_FromServer, frozen=True, tag="pong"):
    id: str | None = None


class Heartbeat(_FromServer, frozen=True, tag="heartbeat"):
    received_ms: float
    processed_ms: float
    buffered_ms: float


class ErrorMessage(_FromServer, frozen=True, tag="error"):
    code: str
    message: str
    fatal: bool
    hint: str | None = None
    retry_after_seconds: int | None = None


class AudioOut(_FromServer, frozen=True, tag="audio"):
    sequence: int
    index: int
    count: int
    data: bytes


class TokensOut(_FromServer, frozen=True, tag="tokens"):
    sequence: int
    index: int
    count: int
    levels: int
    data: bytes


ServerMessage = (
    SessionCreated
    | SessionResumed
    | SessionWarning
    | SessionDraining
    | SessionClosed
    | LevelsChanged
    | Flushed
    | Cleared
    | Pong
    | Heartbeat
    | ErrorMessage
    | AudioOut
    | TokensOut
)
SERVER_MESSAGES: Final[tuple[type[_FromServer], ...]] = get_args(ServerMessage)

_decoder: Final = msgspec.json.Decoder(ClientMessage)
_type_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encoder: Final = msgspec.json.Encoder()
_CLIENT_TYPES: Final = {str(kind.__struct_config__.tag).encode() for kind in CLIENT_MESSAGES}


def decode_message(text: str) -> ClientMessage:
    """Return the control message in `text`."""
    try:
        message: ClientMessage = _decoder.decode(text)
        return message
    except (msgspec.DecodeError, RecursionError) as error:
        raise _message_error(text, error) from error


def encode_message(message: ServerMessage) -> str:
    return _encoder.encode(message).decode()


def error_message(error: SessionError) -> ErrorMessage:
    return ErrorMessage(
        error.code.value, str(error), error.fatal, error.hint, error.retry_after_seconds
    )


def _message_error(text: str, cause: Exception) -> SessionError:
    """Tell a type nobody knows from a message that is malformed."""
    try:
        kind = bytes(_type_decoder.decode(text).get("type", msgspec.Raw(b"")))
    except (msgspec.DecodeError, RecursionError):
        kind = b""
    if len(kind) > 2 and kind[:1] == b'"' and kind[1:-1] not in _CLIENT_TYPES:
        named = kind[1:-1][:64].decode(errors="replace")
        return SessionError(ErrorCode.UNKNOWN_MESSAGE, f"there is no control message {named!r}")
    return SessionError(ErrorCode.BAD_MESSAGE, f"not a control message: {cause}")
