"""The sandbox processes of this worker: kept warm, bounded in number, replaced when they die."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Literal

import msgspec
import structlog

from grove.codec.errors import CodecError
from grove.server.sandbox.messages import END, ERROR, FRAME, ORDER, Order, Refusal, error_of
from grove.server.settings import Settings

_log = structlog.get_logger("sandbox")
_READ_LIMIT_BYTES = 1 << 20
_MOST_IDLE = 4

Lane = Literal["input", "output"]


class SandboxDied(Exception):  # noqa: N818 - it is what happened
    """The process ended, or fell silent, in the middle of an order."""


class Conversation:
    """One order, and what is said about it until its end."""

    def __init__(self, process: asyncio.subprocess.Process, stall_seconds: float) -> None:
        self._process = process
        self._stall_seconds = stall_seconds
        self.has_ended = False

    async def say(self, kind: bytes, payload: bytes = b"") -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(FRAME.pack(kind, len(payload)) + payload)
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise SandboxDied("its process died of it") from None

    async def hear(self) -> tuple[bytes, bytes]:
        """Return the next message; a refusal raises the error that it tells of."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(self._stall_seconds):
                kind, size = FRAME.unpack(await self._process.stdout.readexactly(FRAME.size))
                payload = await self._process.stdout.readexactly(size)
        except TimeoutError:
            raise SandboxDied(f"nothing came for {self._stall_seconds:g} s") from None
        except asyncio.IncompleteReadError:
            raise SandboxDied("its process died of it") from None
        self.has_ended = kind in (END, ERROR)
        if kind == ERROR:
            raise _refused(payload)
        return kind, payload


def _refused(payload: bytes) -> CodecError:
    return error_of(msgspec.json.decode(payload, type=Refusal))


class SandboxPool:
    """A process serves one order at a time, and another one only if it came to the end."""

    def __init__(self, settings: Settings, processes: int) -> None:
        self._settings = settings
        # A transfer may need both at once: with one count for the two, all could wait for all.
        self._free = {"input": asyncio.Semaphore(processes), "output": asyncio.Semaphore(processes)}
        self._idle: list[asyncio.subprocess.Process] = []
        self._ending: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self, lane: Lane, order: Order) -> AsyncIterator[Conversation]:
        """Give an order; the process is ended with the block unless it has answered in full."""
        async with self._free[lane]:
            process, conversation = await self._order(msgspec.json.encode(order))
            try:
                yield conversation
            finally:
                self._give_back(process, conversation.has_ended)

    async def warm_up(self) -> None:
        """Start one process for each lane, so that the first file need not wait for it."""
        self._idle.extend([await self._start(), await self._start()])

    async def close(self) -> None:
        for process in self._idle:
            self._spawn(_end(process))
        self._idle.clear()
        await asyncio.gather(*self._ending)

    async def _order(self, order: bytes) -> tuple[asyncio.subprocess.Process, Conversation]:
        """Give the order to an idle process, or to a new one if none of them lives to take it."""
        while True:
            is_new = not self._idle
            process = await self._start() if is_new else self._idle.pop()
            conversation = Conversation(process, self._settings.body_deadline_seconds)
            try:
                await conversation.say(ORDER, order)
            except BaseException as error:
                self._give_back(process, is_sound=False)
                # An idle one may have died unnoticed; it has heard nothing of the order yet.
                if is_new or not isinstance(error, SandboxDied):
                    raise
            else:
                return process, conversation

    def _give_back(self, process: asyncio.subprocess.Process, is_sound: bool) -> None:
        if is_sound and process.returncode is None and len(self._idle) < _MOST_IDLE:
            self._idle.append(process)
            return
        if process.returncode not in (None, 0):
            _log.warning("sandbox_died", returncode=process.returncode)
        # By a task of its own: whoever was reading may be cancelled, and cannot wait.
        self._spawn(_end(process))

    def _spawn(self, ending: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(ending)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "grove.server.sandbox.process",
            str(self._settings.sandbox_memory_mb),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_READ_LIMIT_BYTES,
            # numpy reserves memory for each thread it might use, and the limit counts it.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            # Not in our process group: a Ctrl-C is for the server, which then ends its sandboxes.
            start_new_session=True,
        )


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        try:
            process.kill()
        except ProcessLookupError:
            return
    # asyncio sees the end of a process only once its output was read, and a full buffer holds
    # back reading.
    assert process.stdout is not None
    await process.stdout.read()
    await process.wait()
