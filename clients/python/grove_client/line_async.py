"""HTTP connections for asyncio, and the calls that are made over them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Final

import httpx

from grove_client import views
from grove_client.calls import Call, Source
from grove_client.errors import GroveError, reply_problem
from grove_client.protocol import auth_headers
from grove_client.retries import Attempts, Retries
from grove_client.sink import Sink
from grove_client.views import Coded

_PIECE_BYTES: Final = 1 << 18


class AsyncLine:
    """The way to one service."""

    def __init__(self, url: str, key: str | None, retries: Retries, timeout_seconds: float) -> None:
        self.retries = retries
        self._timeout_seconds = timeout_seconds
        # The range of a reply that a proxy had packed would be a range of something else.
        headers = {**auth_headers(key), "Accept-Encoding": "identity"}
        self._http = httpx.AsyncClient(base_url=url, headers=headers)

    async def close(self) -> None:
        await self._http.aclose()

    async def body(self, call: Call) -> bytes:
        return (await self.file(call, None)).content

    async def file(self, call: Call, target: Path | None) -> Coded:
        """Make the call until it works; return what came."""
        attempts = Attempts(self.retries, call)
        with Sink(target) as sink:
            while True:
                try:
                    async with self.opened(call, received_bytes=sink.size_bytes) as reply:
                        sink.begin(is_rest=reply.status_code == httpx.codes.PARTIAL_CONTENT)
                        async for chunk in reply.aiter_bytes():
                            # Into the system's cache: it comes over the network, more slowly.
                            sink.write(chunk)
                        headers = reply.headers
                    return views.coded_of(sink.finished(), headers)
                except (GroveError, httpx.TransportError) as error:
                    await asyncio.sleep(attempts.wait_seconds(error))

    @asynccontextmanager
    async def opened(
        self, call: Call, *, received_bytes: int = 0, silence_seconds: float | None = None
    ) -> AsyncIterator[httpx.Response]:
        """Make the call once, and hold the reply open."""
        silence = self._timeout_seconds if silence_seconds is None else silence_seconds
        request = self._http.build_request(
            call.method,
            call.path,
            params=call.params,
            headers=call.headers_after(received_bytes) | _length(call.body),
            content=_pieces(call.body) if isinstance(call.body, Path) else call.body,
            timeout=httpx.Timeout(self._timeout_seconds, read=silence),
        )
        reply = await self._http.send(request, stream=True)
        async with aclosing(reply):
            if reply.is_error:
                await reply.aread()
                raise reply_problem(reply)
            yield reply


def _length(body: Source | None) -> dict[str, str]:
    """Return what httpx cannot know of a body that comes in pieces."""
    return {"Content-Length": str(body.stat().st_size)} if isinstance(body, Path) else {}


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
            yield piece
    finally:
        file.close()
