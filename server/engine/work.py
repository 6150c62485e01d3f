"""What goes into the engine for one stream, and what comes out, in the same order."""

from dataclasses import dataclass

from grove.codec.arrays import F32, I64, U16


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
