"""A client of the Grove service, sync and async; needs httpx, websockets and grove_protocol.py."""

import asyncio
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, ExitStack
from types import TracebackType
from typing import Final, Self

import httpx
from grove_protocol import (
    GroveError,
    Packet,
    Session,
    StreamProtocol,
    StreamSettings,
    Summary,
    auth_headers,
    content_of,
    query_params,
    refusal_of,
)
from websockets.asyncio.client import ClientConnection as AsyncSocket
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

__all__ = [
    "AsyncGrove",
    "AsyncStream",
    "Grove",
    "GroveError",
    "Packet",
    "Session",
    "Stream",
    "StreamSettings",
    "Summary",
]

_SUBPROTOCOLS: Final = [Subprotocol("grove.v1")]
_RETRY_SECONDS: Final = 0.25
_TIMEOUT_SECONDS: Final = 120
# Leaving with output unread, the answer to our close is stuck behind it.
_CLOSE_SECONDS: Final = 1


class Stream:
    """One session, sync: a context manager. One thread may send while another reads."""

    def __init__(self, url: str, key: str | None, settings: StreamSettings) -> None:
        self._url = url.replace("http", "ws", 1) + "/v1/stream?"
        self._headers = auth_headers(key)
        self._protocol = StreamProtocol(settings)
        self._lock = threading.Lock()
        self._is_up = threading.Event()
        self._socket: ClientConnection | None = None
        self._sockets = ExitStack()
        self._is_over = False

    @property
    def session(self) -> Session:
        assert self._protocol.session is not None, "the stream is not open"
        return self._protocol.session

    @property
    def summary(self) -> Summary | None:
        """Return what the stream came to, once everything was read."""
        return self._protocol.summary

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over = True
        self._is_up.set()
        self._sockets.close()

    def send(self, chunk: bytes | Packet) -> None:
        """Send samples (`encode`, `transcode`) or frames of codes (`decode`)."""
        self._is_up.wait(_TIMEOUT_SECONDS)
        with self._lock:
            if self._is_over:
                raise GroveError("closed", "the stream was left")
            protocol = self._protocol
            messages = (
                protocol.audio(chunk) if isinstance(chunk, bytes) else [protocol.tokens(chunk)]
            )
            for message in messages:
                self._put(message)

    def set_levels(self, levels: int) -> None:
        """Change the bitrate of frames completed by audio sent from now on."""
        with self._lock:
            self._put(self._protocol.control("levels", levels))

    def finalize(self) -> None:
        """Say that no input follows; output goes on until all of it is read."""
        with self._lock:
            self._put(self._protocol.control("finalize"))

    def __iter__(self) -> Iterator[Packet]:
        """Yield output until the session is over; a dropped line is resumed."""
        while self._protocol.summary is None:
            assert self._socket is not None
            try:
                received = self._protocol.receive(self._socket.recv())
            except ConnectionClosed as closed:
                self._resume(self._protocol.check_resumable(closed))
                continue
            if isinstance(received, Packet):
                yield received

    def exchange(self, chunks: Iterable[bytes | Packet]) -> Iterator[Packet]:
        """Send all chunks from a thread, and yield output as it comes."""
        faults: list[Exception] = []
        sender = threading.Thread(target=self._send_all, args=(chunks, faults), daemon=True)
        sender.start()
        yield from self
        sender.join()
        if faults:
            raise faults[0]

    def _send_all(self, chunks: Iterable[bytes | Packet], faults: list[Exception]) -> None:
        try:
            for chunk in chunks:
                self.send(chunk)
        except Exception as error:
            faults.append(error)
        self.finalize()

    def _put(self, message: bytes | str) -> None:
        assert self._socket is not None
        try:
            self._socket.send(message)
        except ConnectionClosed:
            self._is_up.clear()  # the reader resumes, and repeats this message

    def _open(self) -> None:
        """Connect and take the first message."""
        self._sockets.close()
        try:
            socket = self._sockets.enter_context(
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
        with ExitStack() as undo:
            undo.enter_context(self._sockets)
            repeated = self._protocol.receive(socket.recv(timeout=_TIMEOUT_SECONDS))
            assert isinstance(repeated, list), "output came before the session's first message"
            for message in repeated:
                socket.send(message)
            undo.pop_all()
        self._socket = socket
        self._is_up.set()

    def _resume(self, seconds: float) -> None:
        deadline_s = time.monotonic() + seconds
        with self._lock:
            while True:
                try:
                    return self._open()
                except (OSError, ConnectionClosed, TimeoutError) as error:
                    if time.monotonic() > deadline_s:
                        raise GroveError("line_lost", f"no line for {seconds:g} s") from error
                time.sleep(_RETRY_SECONDS)


class AsyncStream:
    """One session, async: an async context manager. One task may send while another reads."""

    def __init__(self, url: str, key: str | None, settings: StreamSettings) -> None:
        self._url = url.replace("http", "ws", 1) + "/v1/stream?"
        self._headers = auth_headers(key)
        self._protocol = StreamProtocol(settings)
        self._lock = asyncio.Lock()
        self._is_up = asyncio.Event()
        self._socket: AsyncSocket | None = None
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
                connect_async(
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
            while True:
                try:
                    return await self._open()
                except (OSError, ConnectionClosed, TimeoutError) as error:
                    if time.monotonic() > deadline_s:
                        raise GroveError("line_lost", f"no line for {seconds:g} s") from error
                await asyncio.sleep(_RETRY_SECONDS)


class Grove:
    """The service, sync: whole files by REST, streams by WebSocket."""

    def __init__(self, url: str = "http://127.0.0.1:8000", key: str | None = None) -> None:
        self._url, self._key = url.rstrip("/"), key
        self._http = httpx.Client(
            base_url=self._url, headers=auth_headers(key), timeout=_TIMEOUT_SECONDS
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    def encode(self, audio: bytes, levels: int | None = None, format: str = "grv") -> bytes:  # noqa: A002
        """Return the tokens of a file of audio, as `grv`, `json` or `npy`."""
        return self._post("encode", audio, levels, format)

    def decode(self, tokens: bytes, format: str = "wav") -> bytes:  # noqa: A002
        """Return the audio of a file of tokens, as `wav`, `flac`, `ogg` or `raw`."""
        return self._post("decode", tokens, None, format)

    def transcode(self, audio: bytes, levels: int | None = None, format: str = "wav") -> bytes:  # noqa: A002
        """Return what the codec makes of a file of audio."""
        return self._post("transcode", audio, levels, format)

    def stream(self, settings: StreamSettings) -> Stream:
        return Stream(self._url, self._key, settings)

    def _post(self, route: str, body: bytes, levels: int | None, form: str) -> bytes:
        reply = self._http.post(f"/v1/{route}", content=body, params=query_params(levels, form))
        return content_of(reply)


class AsyncGrove:
    """The service, async: whole files by REST, streams by WebSocket."""

    def __init__(self, url: str = "http://127.0.0.1:8000", key: str | None = None) -> None:
        self._url, self._key = url.rstrip("/"), key
        self._http = httpx.AsyncClient(
            base_url=self._url, headers=auth_headers(key), timeout=_TIMEOUT_SECONDS
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def encode(self, audio: bytes, levels: int | None = None, format: str = "grv") -> bytes:  # noqa: A002
        """Return the tokens of a file of audio, as `grv`, `json` or `npy`."""
        return await self._post("encode", audio, levels, format)

    async def decode(self, tokens: bytes, format: str = "wav") -> bytes:  # noqa: A002
        """Return the audio of a file of tokens, as `wav`, `flac`, `ogg` or `raw`."""
        return await self._post("decode", tokens, None, format)

    async def transcode(
        self,
        audio: bytes,
        levels: int | None = None,
        format: str = "wav",  # noqa: A002
    ) -> bytes:
        """Return what the codec makes of a file of audio."""
        return await self._post("transcode", audio, levels, format)

    def stream(self, settings: StreamSettings) -> AsyncStream:
        return AsyncStream(self._url, self._key, settings)

    async def _post(self, route: str, body: bytes, levels: int | None, form: str) -> bytes:
        reply = await self._http.post(
            f"/v1/{route}", content=body, params=query_params(levels, form)
        )
        return content_of(reply)
