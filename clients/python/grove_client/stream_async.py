"""One live session, for asyncio."""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from grove_client.errors import GroveError, refusal_of
from grove_client.protocol import (
    Packet,
    Session,
    StreamProtocol,
    StreamSettings,
    Summary,
    auth_headers,
)
from grove_client.retries import PASSING_STATUSES, RESUMING

_SUBPROTOCOLS: Final = [Subprotocol("grove.v1")]
# Leaving with output unread, the answer to our close is stuck behind it.
_CLOSE_SECONDS: Final = 1


class AsyncStream:
    """One session, async: an async context manager. One task may send while another reads."""

    def __init__(self, url: str, key: str | None, settings: StreamSettings) -> None:
        self._url = url.replace("http", "ws", 1) + "/v1/stream?"
        self._headers = auth_headers(key)
        self._protocol = StreamProtocol(settings)
        self._lock = asyncio.Lock()
        self._is_up = asyncio.Event()
        self._socket: ClientConnection | None = None
        self._sockets = AsyncExitStack()

    @property
    def session(self) -> Session:
        assert self._protocol.session is not None, "the stream is not open"
        return self._protocol.session

    @property
    def summary(self) -> Summary | None:
        """Return what the stream came to, once everything was read."""
        return self._protocol.summary

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._sockets.aclose()

    async def send(self, chunk: bytes | Packet) -> None:
        """Send samples (`encode`, `transcode`) or frames of codes (`decode`)."""
        await self._is_up.wait()
        async with self._lock:
            protocol = self._protocol
            messages = (
                protocol.audio(chunk) if isinstance(chunk, bytes) else [protocol.tokens(chunk)]
            )
            for message in messages:
                await self._put(message)

    async def set_levels(self, levels: int) -> None:
        """Change the bitrate of frames completed by audio sent from now on."""
        async with self._lock:
            await self._put(self._protocol.control("levels", levels))

    async def finalize(self) -> None:
        """Say that no input follows; output goes on until all of it is read."""
        async with self._lock:
            await self._put(self._protocol.control("finalize"))

    async def __aiter__(self) -> AsyncIterator[Packet]:
        """Yield output until the session is over; a dropped line is resumed."""
        while self._protocol.summary is None:
            assert self._socket is not None
            try:
                received = self._protocol.receive(await self._socket.recv())
            except ConnectionClosed as closed:
                await self._resume(self._protocol.check_resumable(closed))
                continue
            if isinstance(received, Packet):
                yield received

    async def exchange(self, chunks: AsyncIterable[bytes | Packet]) -> AsyncIterator[Packet]:
        """Send all chunks from a task, and yield output as it comes."""
        sender = asyncio.create_task(self._send_all(chunks))
        try:
            async for packet in self:
                yield packet
            await sender
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def _send_all(self, chunks: AsyncIterable[bytes | Packet]) -> None:
        try:
            async for chunk in chunks:
                await self.send(chunk)
        finally:
            await self.finalize()

    async def _put(self, message: bytes | str) -> None:
        assert self._socket is not None
        try:
            await self._socket.send(message)
        except ConnectionClosed:
            self._is_up.clear()  # the reader resumes, and repeats this message

    async def _open(self) -> None:
        """Connect and take the first message."""
        await self._sockets.aclose()
        try:
            socket = await self._sockets.enter_async_context(
                connect(
                    self._url + self._protocol.query,
                    subprotocols=_SUBPROTOCOLS,
                    additional_headers=self._headers,
                    compression=None,
                    close_timeout=_CLOSE_SECONDS,
                )
            )
        except InvalidStatus as refused:
            raise refusal_of(refused) from refused
        async with AsyncExitStack() as undo:
            await undo.enter_async_context(self._sockets)
            repeated = self._protocol.receive(await socket.recv())
            assert isinstance(repeated, list), "output came before the session's first message"
            for message in repeated:
                await socket.send(message)
            undo.pop_all()
        self._socket = socket
        self._is_up.set()

    async def _resume(self, seconds: float) -> None:
        deadline_s = time.monotonic() + seconds
        async with self._lock:
            failed = 0
            while True:
                try:
                    return await self._open()
                except (OSError, ConnectionClosed, TimeoutError, GroveError) as error:
                    if isinstance(error, GroveError) and error.status not in PASSING_STATUSES:
                        raise
                    if time.monotonic() > deadline_s:
                        raise GroveError("line_lost", f"no line for {seconds:g} s") from error
                failed += 1
                await asyncio.sleep(RESUMING.wait_seconds(failed))
