"""One live session, sync."""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
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
from grove_client.retries import PASSING_STATUSES, RESUMING, TIMEOUT_SECONDS

_SUBPROTOCOLS: Final = [Subprotocol("grove.v1")]
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
        self._is_up.wait(TIMEOUT_SECONDS)
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
            repeated = self._protocol.receive(socket.recv(timeout=TIMEOUT_SECONDS))
            assert isinstance(repeated, list), "output came before the session's first message"
            for message in repeated:
                socket.send(message)
            undo.pop_all()
        self._socket = socket
        self._is_up.set()

    def _resume(self, seconds: float) -> None:
        deadline_s = time.monotonic() + seconds
        with self._lock:
            failed = 0
            while True:
                try:
                    return self._open()
                except (OSError, ConnectionClosed, TimeoutError, GroveError) as error:
                    if isinstance(error, GroveError) and error.status not in PASSING_STATUSES:
                        raise
                    if time.monotonic() > deadline_s:
                        raise GroveError("line_lost", f"no line for {seconds:g} s") from error
                failed += 1
                time.sleep(RESUMING.wait_seconds(failed))
