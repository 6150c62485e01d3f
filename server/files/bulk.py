"""A bounded queue of file work for the engine: blocks in, outcomes out, few of them under way."""

import asyncio
from collections.abc import AsyncIterator

from grove.server.engine.engine import Engine
from grove.server.engine.work import Block, Failed, Outcome, Stepped
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

    async def run(self, blocks: AsyncIterator[Block]) -> AsyncIterator[Stepped]:
        """Yield what the engine makes of `blocks`, in order."""
        under_way = 0
        try:
            async for block in blocks:
                if len(block.levels) == 0:
                    continue
                self._engine.submit(self._stream, [block])
                under_way += len(block.levels)
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
