"""All open sessions of a process: their engine streams, their connections, and their clocks."""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Protocol

import structlog

from grove.codec.errors import StreamError
from grove.server.admission import Admission
from grove.server.allowance import Allowances
from grove.server.auth import Caller
from grove.server.engine.engine import Engine
from grove.server.engine.work import Outcome, Stepped
from grove.server.live.session import Session, StreamSettings
from grove.server.metrics import ServiceMetrics
from grove.server.models import Model
from grove.server.problems import Problem
from grove.server.protocol import ErrorCode, SessionDraining, SessionError
from grove.server.settings import Settings

_log = structlog.get_logger("streams")
_WATCH_SECONDS = 0.1
_FILE_SLICES_QUEUED = 8


def worker_name(pid: int) -> str:
    return f"w{pid}"


class Connection(Protocol):
    """What carries a session for now."""

    @property
    def blocked_since_s(self) -> float | None: ...
    def wake(self) -> None: ...
    def give_way(self) -> None: ...
    def cut(self, error: SessionError) -> None: ...


class Stream:
    """A session joined to the engine; it outlives its connections."""

    def __init__(
        self,
        model: Model,
        settings: StreamSettings,
        caller: Caller,
        *,
        engine: Engine,
        limits: Settings,
        metrics: ServiceMetrics,
        worker: str,
    ) -> None:
        now_s = time.monotonic()
        self.id = secrets.token_hex(8)
        self.resume_token = f"{worker}.{secrets.token_urlsafe(24)}"
        self.model = model
        self.caller = caller
        self.session = Session(settings, model.spec, limits, now_s, self._count_error)
        self.detached_s = now_s
        self.has_slot = True
        self.received_bytes = self.settled_bytes = 0
        self.settled_s = 0.0
        self._connection: Connection | None = None
        self._limits = limits
        self._engine = engine
        self._metrics = metrics
        self._is_live = settings.pace == "realtime"
        self._next_heartbeat_s = now_s
        self.engine_stream = engine.open(
            model.spec.model_sha256,
            live=self._is_live,
            to_audio=settings.mode != "encode",
            deliver=self._on_outcome,
        )

    @property
    def is_carried(self) -> bool:
        """Whether a connection carries the session now."""
        return self._connection is not None

    def attach(self, connection: Connection) -> None:
        """Let a connection carry the session; the one that does so now gives way."""
        if self._connection is not None:
            self._connection.give_way()
        self._connection = connection

    def detach(self) -> None:
        """Be told that the connection has left."""
        self._connection = None
        self.detached_s = time.monotonic()

    @property
    def is_full(self) -> bool:
        """Whether the client should wait: what is queued is enough for the engine to be busy."""
        if self._is_live or self.session.close_code is not None:
            return False
        frames = _FILE_SLICES_QUEUED * self._engine.slice_frames
        half = self._limits.max_outbox_bytes // 2
        return self.session.queued_frames > frames or self.session.outbox.queued_bytes > half

    def receive(self, message: bytes | str) -> None:
        """Take one message from the client."""
        session = self.session
        self.received_bytes += len(message)
        session.receive(message, time.monotonic())
        try:
            self._engine.submit(self.engine_stream, session.take_work())
        except StreamError as error:
            session.fail(SessionError(ErrorCode.ENGINE_FAILED, str(error)))
        if session.outbox or session.close_code is not None:
            self.wake()

    def fail(self, error: SessionError) -> None:
        self.session.fail(error)
        self.wake()

    def wake(self) -> None:
        if self._connection is not None:
            self._connection.wake()

    def watch(self, now_s: float) -> None:
        """Look at the clocks of a session that has a connection."""
        connection, session = self._connection, self.session
        if connection is None or session.close_code is not None:
            return
        if error := session.pacing.overrun(now_s):
            self.fail(error)
        elif error := self._slowness(connection, now_s):
            session.fail(error)
            connection.cut(error)
        elif session.settings.heartbeat_ms and now_s >= self._next_heartbeat_s:
            self._next_heartbeat_s = now_s + session.settings.heartbeat_ms / 1000
            session.heartbeat()
            self.wake()

    def _count_error(self, code: ErrorCode) -> None:
        self._metrics.errors.labels(code.value).inc()

    def _slowness(self, connection: Connection, now_s: float) -> SessionError | None:
        blocked_s = (
            0.0 if connection.blocked_since_s is None else now_s - connection.blocked_since_s
        )
        queued = self.session.outbox.queued_bytes
        if blocked_s > self._limits.slow_reader_seconds:
            return SessionError(
                ErrorCode.SLOW_READER, f"the client has read nothing for {blocked_s:.0f} s"
            )
        if queued > self._limits.max_outbox_bytes:
            return SessionError(ErrorCode.SLOW_READER, f"{queued} bytes of output wait unread")
        return None

    def _on_outcome(self, outcome: Outcome) -> None:
        self.session.on_outcome(outcome)
        if isinstance(outcome, Stepped) and self._is_live:
            self._metrics.latency.observe(time.monotonic() - outcome.arrived_s)
        self.wake()


class StreamRegistry:
    """Opens, finds and ends streams."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        admission: Admission,
        metrics: ServiceMetrics,
        allowances: Allowances,
    ) -> None:
        self._allowances = allowances
        self._settings = settings
        self._engine = engine
        self._admission = admission
        self._metrics = metrics
        self._streams: dict[str, Stream] = {}
        # Siblings find the worker that keeps a session by this.
        self._worker = worker_name(os.getpid())

    def __len__(self) -> int:
        return sum(1 for stream in self._streams.values() if stream.has_slot)

    def open(self, model: Model, settings: StreamSettings, caller: Caller) -> Stream:
        """Open a session, or refuse with a SessionError."""
        try:
            self._allowances.check(caller.identity)
        except Problem as problem:
            raise SessionError(
                ErrorCode.TOO_MANY_SESSIONS, str(problem), None, problem.retry_after_seconds
            ) from problem
        self._admission.open_session(caller, settings.pace)
        stream = Stream(
            model,
            settings,
            caller,
            engine=self._engine,
            limits=self._settings,
            metrics=self._metrics,
            worker=self._worker,
        )
        self._streams[stream.resume_token] = stream
        self._metrics.opened.labels(settings.mode).inc()
        self._metrics.sessions.labels(settings.pace).inc()
        return stream

    def owns(self, token: str) -> bool:
        """Tell whether a resume token was made by this worker."""
        return token.startswith(f"{self._worker}.")

    def find(self, token: str, caller: Caller) -> Stream:
        """Return the session that a resume token stands for; with keys, only to the same one."""
        stream = self._streams.get(token)
        if stream is None or (caller.has_key and caller.identity != stream.caller.identity):
            raise SessionError(
                ErrorCode.RESUME_FAILED, "the resume token is unknown, or its session is over"
            )
        if not stream.is_carried:
            stream.session.pacing.resume(time.monotonic() - stream.detached_s)
        self._metrics.resumed.inc()
        return stream

    def release(self, stream: Stream) -> None:
        """Give a stream's slot back; what it still has to say can be said."""
        if not stream.has_slot:
            return
        stream.has_slot = False
        self._settle(stream)
        pace = stream.session.settings.pace
        self._engine.close(stream.engine_stream)
        self._admission.close_session(stream.caller, pace)
        self._metrics.sessions.labels(pace).dec()

    def _settle(self, stream: Stream) -> None:
        """Count what a stream used since the last time."""
        seconds, size_bytes = stream.session.pacing.received_s, stream.received_bytes
        self._allowances.use(
            stream.caller.identity,
            size_bytes - stream.settled_bytes,
            seconds - stream.settled_s,
        )
        stream.settled_bytes, stream.settled_s = size_bytes, seconds

    def forget(self, stream: Stream) -> None:
        self.release(stream)
        self._streams.pop(stream.resume_token, None)

    def tell_draining(self) -> None:
        for stream in self._streams.values():
            if stream.session.close_code is None:
                stream.session.send(SessionDraining(self._settings.drain_seconds))
                stream.wake()

    async def close_all(self) -> None:
        """End what draining left, and give the closing messages a moment to leave."""
        for stream in list(self._streams.values()):
            stream.fail(SessionError(ErrorCode.DRAINING, "the server went down"))
            self.release(stream)
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                while any(stream.is_carried for stream in self._streams.values()):
                    await asyncio.sleep(0.02)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch clocks as long as the block lasts."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            now_s = time.monotonic()
            for stream in list(self._streams.values()):
                if stream.has_slot:
                    self._settle(stream)
                try:
                    stream.watch(now_s)
                except Exception:  # one session's fault must not stop all clocks
                    _log.exception("watch_failed", session=stream.id)
                expired = now_s - stream.detached_s > self._settings.resume_seconds
                if not stream.is_carried and expired:
                    self.forget(stream)
