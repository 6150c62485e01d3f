"""What goes into the engine for one stream, and what comes out, in the same order."""

from collections import deque
from dataclasses import dataclass
from typing import Self

import numpy as np

from grove.codec.arrays import F32, I64, U16


@dataclass(frozen=True, slots=True, eq=False)
class Audio:
    """Frames of samples [T, hop], to be encoded at levels [T]."""

    frames: F32
    levels: I64
    arrived_s: float

    def part(self, start: int, stop: int | None) -> Self:
        """Return some of the frames."""
        return type(self)(self.frames[start:stop], self.levels[start:stop], self.arrived_s)


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """Frames of codes [T, K] with levels [T], to be decoded."""

    codes: U16
    levels: I64
    arrived_s: float

    def part(self, start: int, stop: int | None) -> Self:
        """Return some of the frames."""
        return type(self)(self.codes[start:stop], self.levels[start:stop], self.arrived_s)


@dataclass(frozen=True, slots=True)
class Mark:
    """Comes out once everything before it has; `label` is the sender's."""

    label: str
    arrived_s: float


@dataclass(frozen=True, slots=True)
class Reset:
    """Drops what is still queued before it, and starts the codec from silence."""

    arrived_s: float


Block = Audio | Tokens
Work = Block | Mark | Reset


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


def frames_ahead(pending: deque[Work], most_frames: int) -> int:
    """Return how many frames of one kind stand in front, up to `most_frames`."""
    kind, frames = type(pending[0]), 0
    for work in pending:
        if type(work) is not kind or isinstance(work, Mark | Reset):
            break
        frames += len(work.levels)
        if frames >= most_frames:
            return most_frames
    return frames


def take_frames(pending: deque[Work], most_frames: int) -> Block:
    """Pop up to `most_frames` frames of one kind as one block, which may end within what came."""
    first = pending[0]
    parts: list[Block] = []
    left = most_frames
    while left and pending and type(head := pending[0]) is type(first):
        assert isinstance(head, Audio | Tokens), f"{head} is no frame"
        if len(head.levels) <= left:
            pending.popleft()
        else:
            pending[0], head = head.part(left, None), head.part(0, left)
        parts.append(head)
        left -= len(head.levels)
    return parts[0] if len(parts) == 1 else _joined(parts)


def drop_frames(pending: deque[Work]) -> None:
    """Forget the frames that wait. Marks stay: whoever set them waits for them."""
    marks = [work for work in pending if isinstance(work, Mark | Reset)]
    pending.clear()
    pending.extend(marks)


def _joined(parts: list[Block]) -> Block:
    levels = np.concatenate([part.levels for part in parts])
    audio = [part.frames for part in parts if isinstance(part, Audio)]
    if audio:
        return Audio(np.concatenate(audio), levels, parts[0].arrived_s)
    codes = [part.codes for part in parts if isinstance(part, Tokens)]
    return Tokens(np.concatenate(codes), levels, parts[0].arrived_s)
