"""A bounded queue of file work for the engine: slices in, outcomes out, few of them under way."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np

from grove.codec.arrays import F32, I64, U16
from grove.server.engine.engine import Engine
from grove.server.engine.work import Audio, Failed, Outcome, Stepped, Tokens
from grove.server.models import Model

_SLICES_UNDER_WAY = 3


class BulkStream:
    """One file in the engine, at lower priority than live streams."""

    def __init__(self, engine: Engine, model: Model, to_audio: bool) -> None:
        self._engine = engine
        self._outcomes: asyncio.Queue[Outcome] = asyncio.Queue()
        self._stream = engine.open(
            model.spec.model_sha256,
            live=False,
            to_audio=to_audio,
            deliver=self._outcomes.put_nowait,
        )

    async def run(self, works: AsyncIterator[Audio | Tokens]) -> AsyncIterator[Stepped]:
        """Yield what the engine makes of `works`, in order."""
        under_way = 0
        try:
            async for work in works:
                self._engine.submit(self._stream, [work])
                under_way += len(work.levels)
                while under_way >= _SLICES_UNDER_WAY * self._engine.slice_frames:
                    stepped = await self._next()
                    under_way -= len(stepped.levels)
                    yield stepped
            while under_way:
                stepped = await self._next()
                under_way -= len(stepped.levels)
                yield stepped
        finally:
            self._engine.close(self._stream)

    async def _next(self) -> Stepped:
        outcome = await self._outcomes.get()
        if isinstance(outcome, Failed):
            raise EngineError(outcome.reason)
        assert isinstance(outcome, Stepped), f"{outcome}: file work sets no marks"
        return outcome


class EngineError(Exception):
    """A fault of ours, not of the data."""


def audio_slices(frames: F32, levels: int, slice_frames: int, now_s: float) -> list[Audio]:
    """Return frames [k, hop] as work of at most `slice_frames` each."""
    return [
        Audio(part.reshape(-1), np.full(len(part), levels, np.int64), now_s)
        for part in _slices(frames, slice_frames)
    ]


def token_slices(codes: U16, levels: I64, slice_frames: int, now_s: float) -> list[Tokens]:
    """Return codes [T, K] with levels [T] as work of at most `slice_frames` each."""
    return [
        Tokens(codes[start : start + slice_frames], levels[start : start + slice_frames], now_s)
        for start in range(0, len(codes), slice_frames)
    ]


def _slices(frames: F32, size: int) -> list[F32]:
    return [frames[start : start + size] for start in range(0, len(frames), size)]
