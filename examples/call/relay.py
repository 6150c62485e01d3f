"""Two pages talk to each other at 1 to 6 kbps. This passes packets on and understands none of them.

make web
.venv/bin/python examples/call/relay.py        # then open http://127.0.0.1:8100 twice
"""

import argparse
import asyncio
import re
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

_HERE: Final = Path(__file__).resolve().parent
_ROOT: Final = _HERE.parent.parent
sys.path.insert(0, str(_ROOT))

from grove.codec.bundle import find_bundle  # noqa: E402 - the clone need not be installed

_ROOM_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MEMBERS: Final = 2
_MOST_ROOMS: Final = 1000
_MESSAGE_BYTES: Final = 1024
# Two seconds of packets; a line slower than that gets the newest ones.
_QUEUED: Final = 100
_BAD_ROOM, _FULL = 4000, 4001

Message = str | bytes


class Rooms:
    """Who is in which room; a member is the queue of what it has to be told."""

    def __init__(self) -> None:
        self._members: dict[str, list[asyncio.Queue[Message]]] = {}

    def join(self, name: str) -> asyncio.Queue[Message] | None:
        """Return a place in the room, None where there is none."""
        if name not in self._members and len(self._members) >= _MOST_ROOMS:
            return None
        members = self._members.setdefault(name, [])
        if len(members) == _MEMBERS:
            return None
        members.append(asyncio.Queue(_QUEUED))
        return members[-1]

    def leave(self, name: str, place: asyncio.Queue[Message]) -> None:
        members = self._members[name]
        members.remove(place)
        if not members:
            del self._members[name]

    def pass_on(self, name: str, sender: asyncio.Queue[Message], message: Message) -> None:
        for place in self._members[name]:
            if place is sender:
                continue
            if place.full():
                place.get_nowait()
            place.put_nowait(message)


async def call(socket: WebSocket) -> None:
    """Pass on what one page says to the other one in its room."""
    origin = urlsplit(socket.headers.get("origin", ""))
    if origin.netloc != socket.headers.get("host"):
        await socket.close()
        return
    await socket.accept()
    rooms: Rooms = socket.app.state.rooms
    name = socket.path_params["room"]
    if not _ROOM_NAME.fullmatch(name):
        await socket.close(_BAD_ROOM, "a room is 1 to 64 letters and digits")
        return
    place = rooms.join(name)
    if place is None:
        await socket.close(_FULL, "two are talking here already")
        return
    rooms.pass_on(name, place, '{"type":"joined"}')
    telling = asyncio.create_task(_tell(socket, place))
    try:
        with suppress(WebSocketDisconnect):
            while True:
                rooms.pass_on(name, place, await _heard(socket))
    finally:
        rooms.pass_on(name, place, '{"type":"left"}')
        rooms.leave(name, place)
        telling.cancel()


async def _heard(socket: WebSocket) -> Message:
    event = await socket.receive()
    if event["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(event["code"])
    message: Message = event.get("bytes") or event.get("text") or b""
    return message


async def _tell(socket: WebSocket, place: asyncio.Queue[Message]) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):
        while True:
            message = await place.get()
            await (socket.send_text if isinstance(message, str) else socket.send_bytes)(message)


async def _isolated(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    response = await call_next(request)
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers["Cross-Origin-Embedder-Policy"] = "require-corp"
    return response


def make_app() -> Starlette:
    files = {"/bundle": find_bundle(), "/codec": _ROOT / "clients" / "js", "/page": _HERE / "page"}
    app = Starlette(
        routes=[
            Route("/", lambda _: RedirectResponse("/page/index.html")),
            WebSocketRoute("/rooms/{room}", call),
            *(Mount(path, StaticFiles(directory=folder)) for path, folder in files.items()),
        ],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=_isolated)],
    )
    app.state.rooms = Rooms()
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8100)
    chosen = parser.parse_args()
    # Microphones need https or this very machine: put a TLS proxy in front to call further.
    uvicorn.run(make_app(), host=chosen.host, port=chosen.port, ws_max_size=_MESSAGE_BYTES)
