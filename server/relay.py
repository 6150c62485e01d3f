"""Forwards a resume that reached the wrong worker to the one that keeps the session."""

import asyncio
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode

from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from grove.server.protocol import ErrorCode, SessionError
from grove.server.settings import Settings


def worker_socket(run_dir: Path, worker: str) -> Path:
    """Return where a worker listens for its siblings."""
    return run_dir / f"{worker}.sock"


async def relay(socket: WebSocket, settings: Settings, token: str, received: int) -> None:
    """Join a client to the worker that its token names."""
    worker = token.partition(".")[0]
    run_dir = settings.run_dir
    path = worker_socket(run_dir, worker) if run_dir and worker.isalnum() else None
    if path is None or not path.exists():
        raise SessionError(
            ErrorCode.RESUME_FAILED, "the resume token is unknown, or its session is over"
        )
    query = urlencode({"resume": token, "received": received})
    headers = [
        (name, value)
        for name, value in socket.headers.items()
        if name in ("authorization", "x-api-key", "origin")
    ]
    offered = [Subprotocol(name) for name in socket.scope.get("subprotocols", [])]
    try:
        async with unix_connect(
            str(path),
            f"ws://{socket.headers.get('host', 'localhost')}/v1/stream?{query}",
            subprotocols=offered or None,
            additional_headers=headers,
            compression=None,
            max_size=None,
            user_agent_header=None,
        ) as keeper:
            await _join(socket, keeper)
    except (OSError, WebSocketException) as error:
        raise SessionError(
            ErrorCode.RESUME_FAILED, "the worker that kept the session is gone"
        ) from error


async def _join(socket: WebSocket, keeper: ClientConnection) -> None:
    upward = asyncio.create_task(_upward(socket, keeper))
    try:
        with suppress(ConnectionClosed):
            async for message in keeper:
                if isinstance(message, str):
                    await socket.send_text(message)
                else:
                    await socket.send_bytes(message)
        code = keeper.close_code or 1006
        with suppress(WebSocketDisconnect, RuntimeError):
            await socket.close(1011 if code in (1005, 1006) else code, keeper.close_reason or "")
    except (WebSocketDisconnect, RuntimeError):
        await keeper.close(1001)
    finally:
        upward.cancel()
        await asyncio.gather(upward, return_exceptions=True)


async def _upward(socket: WebSocket, keeper: ClientConnection) -> None:
    """Pass on what the client sends, and how it leaves."""
    while True:
        event = await socket.receive()
        if event["type"] == "websocket.disconnect":
            code = event.get("code") or 1001
            # A line that dropped has no code that may be sent; the keeper only needs to see it go.
            await keeper.close(code if code not in (1005, 1006) else 1001)
            return
        data = event.get("bytes")
        await keeper.send(event["text"] if data is None else data)
