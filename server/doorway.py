"""uvicorn's HTTP connection, plus limits on what may come before, or without, a whole request."""

import asyncio
import resource
import secrets
from collections.abc import Callable
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from grove.server.problems import Problem, ProblemCode, problem_response
from grove.server.settings import Settings

MAX_HEADERS: Final = 100
_MAX_PIPELINED: Final = 16
_LINGER_SECONDS: Final = 1.0
_WANTED_DESCRIPTORS: Final = 65_536


class Doorway:
    """The connections of one server that have no request under way, the longest waiting first."""

    def __init__(self, settings: Settings, count: Callable[[ProblemCode], None]) -> None:
        self.max_head_bytes = settings.max_head_bytes
        self.max_url_bytes = settings.max_url_bytes
        self.head_seconds = settings.head_deadline_seconds
        self.stall_seconds = settings.reply_stall_seconds
        self.count = count
        # A few descriptors must be left for those who ask something, and for files.
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most = max(1, min(settings.waiting_connections, descriptors // 4))
        self._waiting: dict[HttpProtocol, None] = {}

    def enter(self, connection: "HttpProtocol") -> None:
        self._waiting[connection] = None
        if len(self._waiting) > self._most:
            oldest = next(iter(self._waiting))
            self.leave(oldest)
            oldest.transport.abort()

    def leave(self, connection: "HttpProtocol") -> None:
        self._waiting.pop(connection, None)


class _TooMuch(Exception):  # noqa: N818 - only carries the parser out of its callbacks
    pass


class HttpProtocol(HttpToolsProtocol):
    """Made for one server by `protocol_at`."""

    doorway: Doorway
    _refusal: Problem | None = None
    _is_refused = False
    _head_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _is_in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.doorway.enter(self)
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        self._stop_stall_timer()
        self.doorway.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if self._is_in_head:
            # The parser gathers a header until it is whole, so bytes are counted as they come.
            self._head_bytes += len(data)
        if self.cycle is None or self.cycle.response_complete:
            self._start_head_timer()
        super().data_received(data)
        if self._is_in_head and self._head_bytes > self.doorway.max_head_bytes:
            self._refuse(ProblemCode.HEADERS_TOO_LARGE, self._head_bytes)
            self.send_400_response("")

    # --- from the parser ------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True
        self._start_head_timer()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > self.doorway.max_url_bytes:
            self._refuse(ProblemCode.URL_TOO_LONG, len(self.url))
            raise _TooMuch

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        # Trailers come here as well, and count with the rest.
        if len(self.headers) > MAX_HEADERS:
            self._refuse(ProblemCode.HEADERS_TOO_LARGE, 0)
            raise _TooMuch

    def on_headers_complete(self) -> None:
        size = sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.doorway.max_head_bytes:
            self._refuse(ProblemCode.HEADERS_TOO_LARGE, size)
            raise _TooMuch
        if len(self.pipeline) >= _MAX_PIPELINED:
            self._refusal = Problem(
                ProblemCode.TOO_MANY_REQUESTS, f"{_MAX_PIPELINED} requests wait on this connection"
            )
            raise _TooMuch
        self._is_in_head = False
        self._head_bytes = 0
        self._stop_head_timer()
        self.doorway.leave(self)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._stop_head_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.pipeline and not self.transport.is_closing():
            self.doorway.enter(self)

    # --- refusing -------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:
        """Answer with a problem document; uvicorn calls this for all that is not HTTP."""
        problem = self._refusal or Problem(ProblemCode.BAD_REQUEST, msg)
        self._is_refused = True
        self._stop_head_timer()
        self.doorway.count(problem.code)
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()  # another answer is on its way here
            return
        self.transport.write(_written(problem))
        if self.transport.can_write_eof():
            # Closed with input unread, the system would take the answer back as well.
            self.transport.write_eof()
            self.loop.call_later(_LINGER_SECONDS, self.transport.abort)
        else:
            self.transport.close()

    def _refuse(self, code: ProblemCode, size_bytes: int) -> None:
        what, limit = (
            ("URL", self.doorway.max_url_bytes)
            if code is ProblemCode.URL_TOO_LONG
            else ("head", self.doorway.max_head_bytes)
        )
        self._refusal = Problem(
            code,
            f"the {what} has {size_bytes} bytes or more, at most {limit} are taken"
            if size_bytes
            else f"the head has more than {MAX_HEADERS} headers",
        )

    # --- clocks ---------------------------------------------------------------------------

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.doorway.head_seconds, self._head_is_late)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._stop_stall_timer()
        super().resume_writing()

    def _watch_reader(self, unsent: int) -> None:
        self._stop_stall_timer()
        self._stall_timer = self.loop.call_later(
            self.doorway.stall_seconds, self._check_reader, unsent
        )

    def _check_reader(self, before: int) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent >= before:
            self.transport.abort()  # the reply would hold its place for ever
        else:
            self._watch_reader(unsent)

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None


def protocol_at(doorway: Doorway) -> type[HttpProtocol]:
    """Return the protocol for the connections that come through a doorway."""
    return type("DoorwayProtocol", (HttpProtocol,), {"doorway": doorway})


def raise_descriptor_limit() -> None:
    """Take as many descriptors as may be had: each client is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = (
        _WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _WANTED_DESCRIPTORS)
    )
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _written(problem: Problem) -> bytes:
    response = problem_response(problem, secrets.token_hex(8))
    lines = [f"HTTP/1.1 {problem.code.status} {problem.code.value}".encode()]
    lines += [name + b": " + value for name, value in response.raw_headers]
    return b"\r\n".join([*lines, b"connection: close", b"", bytes(response.body)])
