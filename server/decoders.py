"""The decoder processes of this worker: kept warm, bounded in number, replaced when they die."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import numpy as np
import structlog

from codec.errors import AudioError
from server.sandbox import END, ERROR, FRAME, HEAD, SAMPLES, End, Head, Order, Refusal
from server.settings import Settings
from server.work import F32

_log = structlog.get_logger("decoders")
_READ_LIMIT_BYTES = 1 << 20


class DecodedFile:
    """One file being decoded: its head first, then its samples, then its length."""

    def __init__(self, process: asyncio.subprocess.Process, stall_seconds: float) -> None:
        self._process = process
        self._stall_seconds = stall_seconds
        self.sample_rate_hz = 0
        self.channels = 0
        self.declared_samples: int | None = None
        self.end: End | None = None

    async def read_head(self) -> None:
        """Wait until the file is known to be one."""
        kind, payload = await self._next()
        assert kind == HEAD, f"the decoder said {kind!r} first"
        head = msgspec.json.decode(payload, type=Head)
        self.sample_rate_hz = head.sample_rate_hz
        self.channels = head.channels
        # An MP3 only estimates its length.
        self.declared_samples = None if head.container == "mp3" else head.declared_samples

    async def blocks(self) -> AsyncIterator[F32]:
        """Yield mono samples [n] at the rate that was ordered."""
        while True:
            kind, payload = await self._next()
            if kind == SAMPLES:
                yield np.frombuffer(payload, np.float32)
            else:
                self.end = msgspec.json.decode(payload, type=End)
                return

    async def _next(self) -> tuple[bytes, bytes]:
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(self._stall_seconds):
                kind, size = FRAME.unpack(await self._process.stdout.readexactly(FRAME.size))
                payload = await self._process.stdout.readexactly(size)
        except TimeoutError:
            raise AudioError(
                f"the file could not be decoded: nothing came for {self._stall_seconds:g} s"
            ) from None
        except asyncio.IncompleteReadError:
            raise AudioError("the file could not be decoded: its decoder died of it") from None
        if kind == ERROR:
            refusal = msgspec.json.decode(payload, type=Refusal)
            raise AudioError(refusal.message, refusal.hint)
        assert kind in (HEAD, SAMPLES, END), f"a message of kind {kind!r}"
        return kind, payload


class DecoderPool:
    """A process serves one file at a time, and another one only if it came through unharmed."""

    def __init__(self, settings: Settings, processes: int) -> None:
        self._settings = settings
        self._free = asyncio.Semaphore(processes)
        self._idle: list[asyncio.subprocess.Process] = []

    @asynccontextmanager
    async def open(
        self, path: Path, sample_rate_hz: int, max_seconds: float
    ) -> AsyncIterator[DecodedFile]:
        """Decode a file; whatever is wrong with it comes as AudioError."""
        order = Order(
            path=str(path),
            sample_rate_hz=sample_rate_hz,
            max_bytes=max(self._settings.max_body_bytes, 1),
            max_seconds=max_seconds,
            max_channels=self._settings.max_channels,
        )
        async with self._free:
            process = await self._take()
            decoded = DecodedFile(process, self._settings.body_deadline_seconds)
            try:
                assert process.stdin is not None
                process.stdin.write(msgspec.json.encode(order) + b"\n")
                await decoded.read_head()
                yield decoded
            finally:
                await self._give_back(process, is_sound=decoded.end is not None)

    async def warm_up(self) -> None:
        """Start one process, so that the first file need not wait for it."""
        self._idle.append(await self._start())

    async def close(self) -> None:
        for process in self._idle:
            await _end(process)
        self._idle.clear()

    async def _take(self) -> asyncio.subprocess.Process:
        while self._idle:
            process = self._idle.pop()
            if process.returncode is None:
                return process
        return await self._start()

    async def _give_back(self, process: asyncio.subprocess.Process, is_sound: bool) -> None:
        if is_sound and process.returncode is None:
            self._idle.append(process)
            return
        if process.returncode not in (None, 0):
            _log.warning("decoder_died", returncode=process.returncode)
        await _end(process)

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "server.sandbox",
            str(self._settings.sandbox_memory_mb),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_READ_LIMIT_BYTES,
            # numpy reserves memory for each thread it might use, and the limit counts it.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            # Not in our process group: a Ctrl-C is for the server, which then ends its decoders.
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
