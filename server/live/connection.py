"""One WebSocket carrying one session: a reader, a writer, and how they end."""

import asyncio
import time
from contextlib import suppress

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from grove.server.live.line import EXTENSION, Line
from grove.server.live.streams import Stream, StreamRegistry
from grove.server.protocol import CLOSE_DONE, SessionError

_log = structlog.get_logger("connection")
_ECHO_SECONDS = 10.0


def line_of(socket: WebSocket) -> Line | None:
    """Return the connection under a WebSocket, where the server is ours."""
    line = socket.scope.get("extensions", {}).get(EXTENSION)
    assert line is None or isinstance(line, Line)
    return line


class SocketConnection:
    """Moves messages between a WebSocket and a stream until either ends."""

    def __init__(self, socket: WebSocket, stream: Stream) -> None:
        self._socket = socket
        self._stream = stream
        self._line = line_of(socket)
        self._awake = asyncio.Event()
        self._close_code = 1005
        self._is_deaf = False
        self._replaced_by: SessionError | None = None
        self.blocked_since_s: float | None = None

    def wake(self) -> None:
        self._awake.set()
        self._stream.room.set()

    def cut(self, error: SessionError) -> None:
        """Close a line that takes no more output."""
        assert error.close_code is not None
        if self._line is not None:
            self._line.close_now(error.close_code, error.code.value)
        self.wake()

    def replace(self, error: SessionError) -> None:
        """End this connection, but not the session."""
        self._replaced_by = error
        self.wake()

    async def run(self) -> None:
        """Carry the session; the stream is left without a connection in the end."""
        writer = asyncio.create_task(self._write())
        try:
            await self._read()
        finally:
            if self._stream.connection is self:
                self._stream.connection = None
                self._stream.detached_s = time.monotonic()
            self._awake.set()
            if not writer.done() and self.blocked_since_s is not None:
                writer.cancel()
            with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await writer

    async def end(self, registry: StreamRegistry) -> None:
        """Keep the session for a resume, unless it is over."""
        stream = self._stream
        if self._replaced_by is not None or stream.connection is not None:
            return
        session = stream.session
        if session.close_code is not None:
            registry.release(stream)
            if session.is_done and not await self._was_heard():
                return  # `session.closed` may be lost: a resume can still ask for it
            registry.forget(stream)
        elif self._close_code == CLOSE_DONE:
            registry.forget(stream)

    async def _was_heard(self) -> bool:
        """Tell whether the client answered our close, and so has read what came before."""
        if self._line is None:
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(_ECHO_SECONDS):
                await self._line.ended.wait()
        return self._line.has_echoed_close

    async def _read(self) -> None:
        stream = self._stream
        while True:
            event = await self._socket.receive()
            if event["type"] == "websocket.disconnect":
                self._close_code = event.get("code") or 1005
                return
            if self._replaced_by is not None:
                continue
            data = event.get("bytes")
            stream.receive(event["text"] if data is None else data)
            while stream.is_full and not self._is_over():
                stream.room.clear()
                await stream.room.wait()

    async def _write(self) -> None:
        try:
            await self._write_all()
        finally:
            # The reader may be waiting for output to leave.
            self._is_deaf = True
            self._stream.room.set()

    async def _write_all(self) -> None:
        outbox = self._stream.session.outbox
        while not self._is_over():
            while outbox and self._replaced_by is None:
                self.blocked_since_s = time.monotonic()
                message = outbox.pop()
                if isinstance(message, str):
                    await self._socket.send({"type": "websocket.send", "text": message})
                else:
                    await self._socket.send({"type": "websocket.send", "bytes": message})
            self.blocked_since_s = None
            if self._is_over():
                break
            self._stream.room.set()
            self._awake.clear()
            await self._awake.wait()
        await self._close()

    def _is_over(self) -> bool:
        return (
            self._is_deaf
            or self._replaced_by is not None
            or self._stream.connection is not self
            or (self._stream.session.close_code is not None and not self._stream.session.outbox)
        )

    async def _close(self) -> None:
        if self._replaced_by is not None:
            code = self._replaced_by.close_code
            reason = self._replaced_by.code.value
        elif self._stream.connection is self:
            code, reason = self._stream.session.close_code, ""
        else:
            return  # the client has left
        assert code is not None
        await self._socket.close(code, reason)
