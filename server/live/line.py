"""uvicorn's WebSocket connection, plus what ASGI cannot say: close at once, and how it ended."""

import asyncio
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.http11 import Request

EXTENSION: Final = "grove.line"
_MAX_MESSAGES_READ: Final = 8
_MAX_UNSENT_BYTES: Final = 1 << 20
_ABORT_AFTER_SECONDS: Final = 1.0


class Line:
    """The connection under one WebSocket."""

    def __init__(self, protocol: "LineProtocol") -> None:
        self._protocol = protocol
        self.has_echoed_close = False
        self.ended = asyncio.Event()

    def refused(self) -> None:
        """Tell uvicorn that answering the handshake with HTTP was meant."""
        self._protocol.handshake_complete = True

    def close_now(self, code: int, reason: str) -> None:
        """Send a close frame behind what is unread, and drop the line soon after."""
        protocol = self._protocol
        try:
            protocol.conn.send_close(code, reason)
            protocol.transport.write(b"".join(protocol.conn.data_to_send()))
        except InvalidState:
            pass  # a close is under way already
        protocol.loop.call_later(_ABORT_AFTER_SECONDS, protocol.transport.abort)


class LineProtocol(WebSocketsSansIOProtocol):
    """Hands its `Line` to the application in the scope."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's signature
        super().__init__(*args, **kwargs)
        self.line = Line(self)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            # The task that gets the scope exists by now, but has not run yet.
            self.extensions()[EXTENSION] = self.line

    def extensions(self) -> dict[str, Any]:
        extensions: dict[str, Any] = self.scope["extensions"]
        return extensions

    def send_receive_event_to_app(self) -> None:
        # uvicorn stops reading after each message, at two system calls each. A few may queue up.
        is_full = self.queue.qsize() >= _MAX_MESSAGES_READ
        paused, self.read_paused = self.read_paused, self.read_paused or not is_full
        super().send_receive_event_to_app()
        if not is_full:
            self.read_paused = paused

    def handle_ping(self) -> None:
        super().handle_ping()
        if self.transport.get_write_buffer_size() > _MAX_UNSENT_BYTES:
            self.transport.abort()  # it pings without reading the answers

    def handle_close(self, event: Frame) -> None:
        if self.close_sent:
            self.line.has_echoed_close = True
        self.line.ended.set()
        super().handle_close(event)

    def connection_lost(self, exc: Exception | None) -> None:
        self.line.ended.set()
        super().connection_lost(exc)
