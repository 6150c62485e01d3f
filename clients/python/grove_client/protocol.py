"""The protocol of live streams without I/O: settings, packets, and what a resume repeats."""

import json
import struct
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Final, Literal
from urllib.parse import urlencode

from websockets.exceptions import ConnectionClosed

from grove_client.errors import GroveError

_TOKENS_BIT: Final = 0x80
_MOST_FRAMES: Final = (1 << 14) - 1
_SAMPLE_BYTES: Final = {"pcm_s16le": 2, "pcm_f32le": 4, "mulaw": 1, "alaw": 1}
# The line went, but nobody said that the session is over.
_RESUMABLE: Final = {1001, 1006, 1011, 1012}
_KEPT_BYTES: Final = 8 << 20


@dataclass(frozen=True)
class StreamSettings:
    """The query of `/v1/stream`; None leaves the choice to the server."""

    mode: Literal["encode", "decode", "transcode"] = "transcode"
    levels: int | None = None
    encoding: Literal["pcm_s16le", "pcm_f32le", "mulaw", "alaw"] = "pcm_s16le"
    sample_rate: int | None = None
    channels: int = 1
    pace: Literal["realtime", "file"] = "realtime"
    model: str | None = None
    frames_per_packet: int | None = None

    @property
    def query(self) -> str:
        return urlencode({name: value for name, value in vars(self).items() if value is not None})


@dataclass(frozen=True)
class Session:
    """What `session.created` says."""

    id: str
    levels: int
    sample_rate_hz: int
    hop_samples: int
    code_sizes: tuple[int, ...]
    codes_per_level: tuple[int, ...]
    delay_ms: float
    message_bytes: int
    resume_token: str
    resume_seconds: float


@dataclass(frozen=True)
class Packet:
    """Audio, or frames of 16-bit codes; `index` is the first sample or the first frame."""

    kind: Literal["audio", "tokens"]
    index: int
    count: int
    levels: int
    payload: bytes

    @property
    def frames(self) -> list[tuple[int, ...]]:
        """Return the codes of each frame, level 0 first."""
        codes = struct.unpack(f"<{len(self.payload) // 2}H", self.payload)
        size = len(codes) // self.count if self.count else 0
        return [codes[n * size : (n + 1) * size] for n in range(self.count)]


@dataclass(frozen=True)
class Summary:
    """What `session.closed` says of the whole stream."""

    frames: int
    samples: int
    seconds: float
    sha256: str


class StreamProtocol:
    """The protocol without I/O: messages in and out, and what a resume must repeat."""

    def __init__(self, settings: StreamSettings) -> None:
        self._settings = settings
        self._sequence = 0
        self._received = 0
        self._outputs = 0
        self._kept: deque[tuple[int, bytes | str]] = deque()
        self._kept_bytes = 0
        self._dropped_before = 0
        self.session: Session | None = None
        self.summary: Summary | None = None

    @property
    def query(self) -> str:
        """Return the query to connect with: a new session, or the old one again."""
        if self.session is None:
            return self._settings.query
        return urlencode({"resume": self.session.resume_token, "received": self._received})

    def audio(self, chunk: bytes) -> list[bytes]:
        """Return the packets that carry a chunk of samples."""
        assert self.session is not None
        most = self.session.message_bytes - 2
        cuts = range(0, len(chunk), most)
        return [self._packet(0, b"", chunk[cut : cut + most]) for cut in cuts]

    def tokens(self, packet: Packet) -> bytes:
        """Return the packet that carries frames of codes, numbered on from the last one."""
        assert packet.count <= _MOST_FRAMES, f"{packet.count} frames, at most {_MOST_FRAMES}"
        low, high = packet.count & 0x7F, packet.count >> 7
        count = bytes((0x80 | low, high)) if high else bytes((low,))
        codes = struct.unpack(f"<{len(packet.payload) // 2}H", packet.payload)
        packed = pack_codes(codes, self._widths(packet.levels))
        return self._packet(_TOKENS_BIT | packet.levels, count, packed)

    def control(self, kind: Literal["finalize", "levels"], levels: int = 0) -> str:
        text = json.dumps({"type": kind} | ({"levels": levels} if levels else {}))
        self._keep(text)
        return text

    def receive(self, message: bytes | str) -> Packet | list[bytes | str]:
        """Return the output in a message, or else what must be sent again because of it."""
        if isinstance(message, bytes):
            return self._output(message)
        said = json.loads(message)
        match said["type"]:
            case "session.created":
                self.session = _session(said)
            case "session.resumed":
                return self._repeated(said["next_sequence"])
            case "session.closed":
                self._received += 1
                self.summary = Summary(
                    said["frames"], said["samples"], said["seconds"], said["sha256"]
                )
            case "error" if said["fatal"] or said["code"] == "bad_levels":
                raise GroveError(
                    said["code"], said["message"], said.get("hint"), said.get("retry_after_seconds")
                )
        return []

    def check_resumable(self, closed: ConnectionClosed) -> float:
        """Return for how long a resume may be tried, or raise why it may not."""
        code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")
        if self.session is None or code not in _RESUMABLE:
            raise GroveError("closed", f"the server closed with {code} {reason}") from closed
        return self.session.resume_seconds

    def _output(self, message: bytes) -> Packet:
        self._received += 1
        index = self._outputs
        if not message[0] & _TOKENS_BIT:
            samples = (len(message) - 2) // _SAMPLE_BYTES[self._settings.encoding]
            self._outputs += samples
            return Packet("audio", index, samples, 0, message[2:])
        levels, start = message[0] & 0x7F, 3 if message[2] < 0x80 else 4
        count = message[2] if start == 3 else message[2] & 0x7F | message[3] << 7
        self._outputs += count
        codes = unpack_codes(message[start:], self._widths(levels), count)
        return Packet("tokens", index, count, levels, struct.pack(f"<{len(codes)}H", *codes))

    def _widths(self, levels: int) -> list[int]:
        """Return how many bits each code of a frame takes."""
        assert self.session is not None
        used = sum(self.session.codes_per_level[:levels])
        return [(size - 1).bit_length() for size in self.session.code_sizes[:used]]

    def _packet(self, first: int, count: bytes, payload: bytes) -> bytes:
        packet = bytes((first, self._sequence & 0xFF)) + count + payload
        self._keep(packet)
        self._sequence += 1
        return packet

    def _keep(self, message: bytes | str) -> None:
        self._kept.append((self._sequence, message))
        self._kept_bytes += len(message)
        while self._kept_bytes > _KEPT_BYTES:
            sequence, oldest = self._kept.popleft()
            self._kept_bytes -= len(oldest)
            self._dropped_before = sequence + 1

    def _repeated(self, next_sequence: int) -> list[bytes | str]:
        if next_sequence < self._dropped_before:
            raise GroveError("resume_failed", f"packet {next_sequence} is no longer kept here")
        # What was sent before a packet that arrived has arrived as well.
        return [message for sequence, message in self._kept if sequence >= next_sequence]


def pack_codes(codes: Iterable[int], widths: list[int]) -> bytes:
    """Return the codes of some frames as bits, filled with zeros to whole bytes."""
    bits = size = 0
    for code, width in zip(codes, cycle(widths), strict=False):
        bits, size = bits << width | code, size + width
    unused = -size % 8
    return (bits << unused).to_bytes((size + unused) // 8, "big")


def unpack_codes(data: bytes, widths: list[int], frames: int) -> list[int]:
    """Return the codes that `pack_codes` made the bytes of."""
    bits = int.from_bytes(data, "big") >> (8 * len(data) - frames * sum(widths))
    codes = []
    for width in widths[::-1] * frames:
        codes.append(bits & ((1 << width) - 1))
        bits >>= width
    return codes[::-1]


def _session(said: dict[str, Any]) -> Session:
    return Session(
        id=said["session_id"],
        levels=said["levels"],
        sample_rate_hz=said["sample_rate_hz"],
        hop_samples=said["model"]["hop_samples"],
        code_sizes=tuple(said["model"]["code_sizes"]),
        codes_per_level=tuple(said["model"]["codes_per_level"]),
        delay_ms=said["delay"]["algorithmic_ms"] + said["delay"]["resampler_ms"],
        message_bytes=said["limits"]["message_bytes"],
        resume_token=said["resume"]["token"],
        resume_seconds=said["resume"]["seconds"],
    )


def auth_headers(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}
