"""What goes into the engine for one stream, and what comes out, in the same order."""

from dataclasses import dataclass
from typing import Protocol

from grove.codec.arrays import F32, I64, U16
from grove.codec.config import CodecSpec


class FrameCodec(Protocol):
    """The steps of a codec; `grove.codec.runtime.Codec` is one."""

    spec: CodecSpec

    def encoder_state(self, batch: int) -> F32: ...
    def decoder_state(self, batch: int) -> F32: ...
    def encode_step(self, pcm: F32, state: F32) -> tuple[U16, F32]: ...
    def decode_step(self, codes: U16, levels: I64, state: F32) -> tuple[F32, F32]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Audio:
    """Whole frames of samples [T * hop], to be encoded at levels [T]."""

    pcm: F32
    levels: I64
    arrived_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """Frames of codes [T, K] with levels [T], to be decoded."""

    codes: U16
    levels: I64
    arrived_s: float


@dataclass(frozen=True, slots=True)
class Mark:
    """Comes out once everything before it has; `label` is the sender's."""

    label: str
    arrived_s: float


@dataclass(frozen=True, slots=True)
class Reset:
    """Drops what is still queued before it, and starts the codec from silence."""

    arrived_s: float


Work = Audio | Tokens | Mark | Reset


@dataclass(frozen=True, slots=True, eq=False)
class Stepped:
    """T frames done: codes [T, K] with levels [T], and samples [T * hop] where audio is made."""

    codes: U16
    levels: I64
    pcm: F32 | None
    arrived_s: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The model step raised; the stream is over."""

    reason: str


Outcome = Stepped | Mark | Reset | Failed
