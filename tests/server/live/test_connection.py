"""A connection by itself: which state follows which, and what the stream is told of it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fake_codec import SPEC, FakeCodec

from grove.server.auth import Caller
from grove.server.engine.batch import Batcher
from grove.server.engine.engine import Engine, Ticks
from grove.server.live.connection import SocketConnection, State
from grove.server.live.session import StreamSettings
from grove.server.live.streams import Stream
from grove.server.metrics import ServiceMetrics
from grove.server.models import Model
from grove.server.protocol import ErrorCode, SessionError
from grove.server.settings import Settings

SETTINGS = StreamSettings("encode", "pcm_s16le", 24_000, 1, 3, "file", 0, is_json=False)


class Socket:
    """A WebSocket whose client does what a test says."""

    def __init__(self, *, is_broken: bool = False) -> None:
        self.scope: dict[str, object] = {}
        self.sent: list[object] = []
        self.closed: list[tuple[int, str]] = []
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._is_broken = is_broken

    def hang_up(self) -> None:
        self._events.put_nowait({"type": "websocket.disconnect", "code": 1006})

    async def receive(self) -> dict[str, Any]:
        return await self._events.get()

    async def send(self, message: dict[str, object]) -> None:
        if self._is_broken:
            raise RuntimeError("the line is gone")
        self.sent.append(message)

    async def close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))


def stream() -> Stream:
    metrics = ServiceMetrics()
    engine = Engine(
        {SPEC.model_sha256: Batcher(FakeCodec())},
        metrics.engine,
        Ticks(0, 0),
        16,
        8,
    )
    return Stream(
        Model(FakeCodec(), frozenset()),
        SETTINGS,
        Caller("anonymous", "127.0.0.1", has_key=False),
        engine=engine,
        limits=Settings(),
        metrics=metrics,
        worker="w1",
    )


def carried(opened: Stream, socket: Socket) -> tuple[SocketConnection, "asyncio.Task[None]"]:
    connection = SocketConnection(socket, opened)  # type: ignore[arg-type]
    opened.attach(connection)
    return connection, asyncio.create_task(connection.run())


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(10):
            await scenario()

    asyncio.run(main())


def test_a_client_that_hangs_up_leaves_a_session_that_waits() -> None:
    async def scenario() -> None:
        opened, socket = stream(), Socket()
        connection, running = carried(opened, socket)
        await settled()
        assert (connection.state, opened.is_carried) == (State.CARRYING, True)
        socket.hang_up()
        await running
        assert (connection.state, opened.is_carried) == (State.LEFT, False)
        assert socket.closed == []

    play(scenario)


def test_a_connection_that_gave_way_says_so_and_takes_nothing_from_its_follower() -> None:
    async def scenario() -> None:
        opened, old, new = stream(), Socket(), Socket()
        first, running = carried(opened, old)
        await settled()
        second, carrying = carried(opened, new)
        opened.fail(SessionError(ErrorCode.IDLE, "for the new connection alone"))
        await settled()
        assert (first.state, old.sent) == (State.REPLACED, [])
        assert old.closed == [(4011, "replaced")]
        old.hang_up()
        await running
        assert (first.state, opened.is_carried) == (State.REPLACED, True)
        assert (second.state, len(new.sent)) == (State.SAID_ALL, 1)
        new.hang_up()
        await carrying
        assert (second.state, opened.is_carried) == (State.LEFT, False)

    play(scenario)


def test_a_session_that_ends_is_closed_with_its_code_once_all_is_said() -> None:
    async def scenario() -> None:
        opened, socket = stream(), Socket()
        connection, running = carried(opened, socket)
        opened.fail(SessionError(ErrorCode.IDLE, "nothing came"))
        await settled()
        assert (connection.state, len(socket.sent)) == (State.SAID_ALL, 1)
        assert socket.closed == [(4009, "")]
        socket.hang_up()
        await running
        assert connection.state is State.LEFT

    play(scenario)


def test_a_line_that_takes_nothing_more_ends_the_writing_and_not_the_session() -> None:
    async def scenario() -> None:
        opened, socket = stream(), Socket(is_broken=True)
        connection, running = carried(opened, socket)
        opened.session.heartbeat()
        opened.wake()
        await settled()
        assert (connection.state, opened.is_carried) == (State.SAID_ALL, True)
        socket.hang_up()
        await running
        assert (connection.state, opened.session.close_code) == (State.LEFT, None)

    play(scenario)
