"""Uploads of tokens, read in a sandbox process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from grove.codec.arrays import I64, U16
from grove.codec.config import CodecSpec
from grove.codec.errors import BitstreamError
from grove.codec.resample import resampled_samples
from grove.server.models import Model
from grove.server.sandbox.messages import (
    CHOICE,
    CODES,
    CODES_HEAD,
    END,
    PLAN,
    SEGMENT,
    ReadTokens,
    SegmentHead,
    TokenChoice,
    TokenHead,
    TokenPlan,
)
from grove.server.sandbox.pool import Conversation, SandboxDied, SandboxPool


@dataclass(frozen=True)
class TokenSegment:
    """Frames of one encoder run; `sample_count` is None where only the frames say."""

    skip_samples: int
    sample_count: int | None
    blocks: AsyncIterator[tuple[U16, I64]]


class TokenFile:
    """A container, array or JSON document. Choose a model, then read it once."""

    def __init__(self, conversation: Conversation, made_by: str | None) -> None:
        self.made_by = made_by
        self.plan = TokenPlan(0, None, ())
        self._conversation = conversation
        self._next: tuple[bytes, bytes] = (b"", b"")

    async def choose(self, model: Model, max_seconds: float, conceals_damage: bool) -> None:
        """Have the whole file checked for a model; whatever is wrong comes as BitstreamError."""
        choice = TokenChoice(
            model.spec.model_dump_json(), model.accepted_models, max_seconds, conceals_damage
        )
        kind, payload = await _answered(self._conversation, CHOICE, msgspec.json.encode(choice))
        assert kind == PLAN, f"the reader said {kind!r} to a choice"
        self.plan = msgspec.json.decode(payload, type=TokenPlan)

    async def leave(self) -> None:
        """Read no further: only who made the file was of interest."""
        await _answered(self._conversation, END, b"")

    def samples_at(self, spec: CodecSpec, sample_rate_hz: int) -> int | None:
        """Return how many samples decoding gives, where the file says."""
        if self.plan.sample_counts is None:
            return None
        return sum(
            resampled_samples(count, spec.sample_rate_hz, sample_rate_hz)
            for count in self.plan.sample_counts
        )

    async def segments(self) -> AsyncIterator[TokenSegment]:
        """Yield the segments; the blocks of each must be used up before the next."""
        self._next = await _heard(self._conversation)
        while self._next[0] == SEGMENT:
            head = msgspec.json.decode(self._next[1], type=SegmentHead)
            yield TokenSegment(head.skip_samples, head.sample_count, self._blocks())

    async def _blocks(self) -> AsyncIterator[tuple[U16, I64]]:
        while True:
            self._next = kind, payload = await _heard(self._conversation)
            if kind != CODES:
                return
            frames, books = CODES_HEAD.unpack_from(payload)
            levels_end = CODES_HEAD.size + frames
            levels = np.frombuffer(payload[CODES_HEAD.size : levels_end], np.uint8)
            codes = np.frombuffer(payload[levels_end:], np.uint16)
            yield codes.reshape(frames, books), levels.astype(np.int64)


@asynccontextmanager
async def open_tokens(pool: SandboxPool, path: Path) -> AsyncIterator[TokenFile]:
    async with pool.open("input", ReadTokens(str(path))) as conversation:
        _, payload = await _heard(conversation)
        yield TokenFile(conversation, msgspec.json.decode(payload, type=TokenHead).made_by)


async def _answered(conversation: Conversation, kind: bytes, payload: bytes) -> tuple[bytes, bytes]:
    try:
        await conversation.say(kind, payload)
    except SandboxDied as error:
        raise _unreadable(error) from None
    return await _heard(conversation)


async def _heard(conversation: Conversation) -> tuple[bytes, bytes]:
    try:
        return await conversation.hear()
    except SandboxDied as error:
        raise _unreadable(error) from None


def _unreadable(error: SandboxDied) -> BitstreamError:
    return BitstreamError(f"the tokens could not be read: {error}")
