"""One WebSocket carrying one session: a reader, a writer, and how they end."""

import asyncio
import time
from contextlib import suppress
from enum import Enum

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from grove.server.live.line import EXTENSION, Line
from grove.server.live.streams import Stream, StreamRegistry
from grove.server.protocol import CLOSE_DONE, ErrorCode, SessionError

_log = structlog.get_logger("connection")
_ECHO_SECONDS = 10.0


def line_of(socket: WebSocket) -> Line | None:
    """Return the connection under a WebSocket, where the server is ours."""
    line = socket.scope.get("extensions", {}).get(EXTENSION)
    assert line is None or isinstance(line, Line)
    return line


class State(Enum):
    """What a connection is at. It only ever moves on; the last two are ends."""

    CARRYING = "carrying"
    """Messages go both ways."""
    SAID_ALL = "said_all"
    """Nothing more is sent: the session's close frame has left, or the line took no more."""
    REPLACED = "replaced"
    """Another connection carries the session; what still comes in is not read."""
    LEFT = "left"
    """The client has hung up; the session waits for another connection."""


class SocketConnection:
    """Moves messages between a WebSocket and a stream until either ends.

    Its state is its own: a stream asks it to wake up or to give way, and is told when it has left.
    """

    def __init__(self, socket: WebSocket, stream: Stream) -> None:
        self._socket = socket
        self._stream = stream
        self._line = line_of(socket)
        self._state = State.CARRYING
        self._awake = asyncio.Event()
        self._room = asyncio.Event()
        self._close_code = 1005
        self._blocked_since_s: float | None = None

    @property
    def state(self) -> State:
        return self._state

    @property
    def blocked_since_s(self) -> float | None:
        """When the message that the client does not read was handed to the line."""
        return self._blocked_since_s

    def wake(self) -> None:
        """Look again at what is to be sent, and whether there is room for more."""
        self._awake.set()
        self._room.set()

    def cut(self, error: SessionError) -> None:
        """Close a line that takes no more output."""
        assert error.close_code is not None
        if self._line is not None:
            self._line.close_now(error.close_code, error.code.value)
        self.wake()

    def give_way(self) -> None:
        """End this connection, but not the session: another one carries it."""
        self._state = State.REPLACED
        self.wake()

    async def run(self) -> None:
        """Carry the session; the stream is left without a connection in the end."""
        writer = asyncio.create_task(self._write())
        try:
            await self._read()
        finally:
            if self._state is not State.REPLACED:
                self._state = State.LEFT
                self._stream.detach()
            self._awake.set()
            if not writer.done() and self._blocked_since_s is not None:
                writer.cancel()
            with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await writer

    async def end(self, registry: StreamRegistry) -> None:
        """Keep the session for a resume, unless it is over."""
        stream = self._stream
        if self._state is State.REPLACED or stream.is_carried:
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
            if self._state is State.REPLACED:
                continue
            data = event.get("bytes")
            stream.receive(event["text"] if data is None else data)
            while stream.is_full and not self._is_over():
                self._room.clear()
                await self._room.wait()

    async def _write(self) -> None:
        try:
            await self._write_all()
        finally:
            if self._state is State.CARRYING:
                self._state = State.SAID_ALL
            # The reader may be waiting for output to leave.
            self._room.set()

    async def _write_all(self) -> None:
        outbox = self._stream.session.outbox
        while not self._is_over():
            while outbox and self._state is not State.REPLACED:
                self._blocked_since_s = time.monotonic()
                message = outbox.pop()
                if isinstance(message, str):
                    await self._socket.send({"type": "websocket.send", "text": message})
                else:
                    await self._socket.send({"type": "websocket.send", "bytes": message})
            self._blocked_since_s = None
            if self._is_over():
                break
            self._room.set()
            self._awake.clear()
            await self._awake.wait()
        await self._close()

    def _is_over(self) -> bool:
        session = self._stream.session
        has_said_all = session.close_code is not None and not session.outbox
        return self._state is not State.CARRYING or has_said_all

    async def _close(self) -> None:
        match self._state:
            case State.REPLACED:
                code, reason = ErrorCode.REPLACED.close_code, ErrorCode.REPLACED.value
            case State.CARRYING:
                code, reason = self._stream.session.close_code, ""
            case State.SAID_ALL | State.LEFT:
                return
        assert code is not None
        await self._socket.close(code, reason)
