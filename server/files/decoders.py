"""Uploads of audio as samples, decoded in a sandbox process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from grove.codec.arrays import F32
from grove.codec.errors import AudioError
from grove.server.sandbox.messages import HEAD, SAMPLES, DecodeAudio, End, Head
from grove.server.sandbox.pool import Conversation, SandboxDied, SandboxPool
from grove.server.settings import Settings


@dataclass
class DecodedFile:
    """One file being decoded: its head is known, then come its samples, then its length."""

    sample_rate_hz: int
    channels: int
    declared_samples: int | None
    expected_seconds: float | None
    _conversation: Conversation
    end: End | None = field(default=None, init=False)

    async def blocks(self) -> AsyncIterator[F32]:
        """Yield mono samples [n] at the rate that was ordered."""
        while True:
            kind, payload = await _heard(self._conversation)
            if kind != SAMPLES:
                self.end = msgspec.json.decode(payload, type=End)
                return
            yield np.frombuffer(payload, np.float32)


@dataclass(frozen=True)
class Decoders:
    """Opens uploads, within the limits."""

    pool: SandboxPool
    settings: Settings

    @asynccontextmanager
    async def open(
        self, path: Path, sample_rate_hz: int, max_seconds: float, exact_length: bool
    ) -> AsyncIterator[DecodedFile]:
        """Decode a file; whatever is wrong with it comes as AudioError."""
        order = DecodeAudio(
            path=str(path),
            sample_rate_hz=sample_rate_hz,
            max_bytes=self.settings.max_body_bytes,
            max_seconds=max_seconds,
            max_channels=self.settings.max_channels,
            exact_length=exact_length,
        )
        async with self.pool.open("input", order) as conversation:
            kind, payload = await _heard(conversation)
            assert kind == HEAD, f"the decoder said {kind!r} first"
            head = msgspec.json.decode(payload, type=Head)
            expected = head.expected_samples
            yield DecodedFile(
                head.sample_rate_hz,
                head.channels,
                head.declared_samples,
                None if expected is None else expected / head.sample_rate_hz,
                conversation,
            )


async def _heard(conversation: Conversation) -> tuple[bytes, bytes]:
    try:
        return await conversation.hear()
    except SandboxDied as error:
        raise AudioError(f"the file could not be decoded: {error}") from None
