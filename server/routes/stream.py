"""`/v1/stream`: opening, refusing and resuming sessions."""

from typing import Annotated

import structlog
from fastapi import APIRouter, Request, WebSocket
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response
from starlette.websockets import WebSocketDisconnect

from grove.codec.errors import CodecError
from grove.codec.resample import MAX_RATE_HZ, MIN_RATE_HZ
from grove.server.auth import Caller
from grove.server.live.connection import SocketConnection, line_of
from grove.server.live.session import StreamSettings
from grove.server.live.streams import Stream
from grove.server.models import Model
from grove.server.problems import Problem, ProblemCode, problem_of, problem_response
from grove.server.protocol import (
    SUBPROTOCOL_BINARY,
    SUBPROTOCOL_JSON,
    SUBPROTOCOL_KEY,
    Delay,
    Encoding,
    ErrorCode,
    Mode,
    ModelInfo,
    Pace,
    ResumeInfo,
    SessionCreated,
    SessionError,
    SessionLimits,
    SessionResumed,
    encode_message,
    error_message,
)
from grove.server.relay import relay
from grove.server.service import Service, service_of

_log = structlog.get_logger("stream")
router = APIRouter()


class StreamQuery(BaseModel):
    """The query parameters of PROTOCOL.md section 2."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode = "transcode"
    encoding: Encoding = "pcm_s16le"
    sample_rate: int | None = Field(None, ge=MIN_RATE_HZ, le=MAX_RATE_HZ)
    channels: int = Field(1, ge=1, le=2)
    levels: int | None = Field(None, ge=1)
    model: str | None = None
    pace: Pace = "realtime"
    heartbeat_ms: Annotated[int, Field(ge=0, le=60_000)] = 0
    frames_per_packet: int = Field(1, ge=1, le=50)
    resume: str | None = None
    received: int = Field(0, ge=0)


@router.websocket("/v1/stream")
async def stream(socket: WebSocket) -> None:
    """Carry one session, or refuse it."""
    service = service_of(socket)
    offered = socket.scope.get("subprotocols", [])
    address = socket.client.host if socket.client else "unknown"
    try:
        service.gate.check_host(socket.headers)
        service.gate.check_origin(socket.headers)
        caller = service.gate.caller(socket.headers, offered, address)
    except CodecError as error:
        problem = problem_of(error)
        service.metrics.rejected.labels(problem.code.value).inc()
        request_id = socket.scope.get("state", {}).get("request_id", "")
        await socket.send_denial_response(problem_response(problem, request_id))
        if (line := line_of(socket)) is not None:
            line.refused()
        return
    subprotocol = _chosen(offered)
    await socket.accept(subprotocol)
    is_json = subprotocol == SUBPROTOCOL_JSON
    try:
        query = _query(socket)
        if query.resume is not None and not service.streams.owns(query.resume):
            await relay(socket, service.settings, query.resume, query.received)
            return
        if query.resume is not None:
            opened, connection = _resume(service, socket, query, caller)
        else:
            settings, model = _settings(service, query, is_json)
            opened = service.streams.open(model, settings, caller)
            opened.session.send(_created(service, opened))
            connection = SocketConnection(socket, opened)
            opened.attach(connection)
    except SessionError as error:
        await _refuse(service, socket, error)
        return
    _log.info("session_opened", session=opened.id, caller=caller.name, resumed=bool(query.resume))
    connection.wake()
    try:
        await connection.run()
    finally:
        await connection.end(service.streams)
        _log.info(
            "session_left",
            session=opened.id,
            connection=connection.state.value,
            close_code=opened.session.close_code,
            frames=opened.session.frames_out,
        )


def _chosen(offered: list[str]) -> str | None:
    """Return the subprotocol to answer with."""
    known = next((name for name in offered if name in (SUBPROTOCOL_BINARY, SUBPROTOCOL_JSON)), None)
    if known is not None or len(offered) != 1 or not offered[0].startswith(SUBPROTOCOL_KEY):
        return known
    # Browsers and Node fail a connection of which no offer was taken.
    return offered[0]


async def plain_request(request: Request) -> Response:
    """Answer a request that asks for no WebSocket."""
    problem = Problem(
        ProblemCode.UPGRADE_REQUIRED, "this is a WebSocket, expected a request with Upgrade"
    )
    response = problem_response(problem, request.state.request_id)
    response.headers["Upgrade"] = "websocket"
    return response


router.add_route("/v1/stream", plain_request, methods=["GET"], include_in_schema=False)


def _query(socket: WebSocket) -> StreamQuery:
    try:
        return StreamQuery.model_validate(dict(socket.query_params))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SessionError(ErrorCode.INVALID_SETTINGS, f"{name}: {first['msg']}") from error


def _settings(service: Service, query: StreamQuery, is_json: bool) -> tuple[StreamSettings, Model]:
    model = service.shelf.find(query.model)
    if model is None:
        served = ", ".join(one.spec.name for one in service.shelf.models)
        raise SessionError(ErrorCode.UNKNOWN_MODEL, f"no such model, expected one of {served}")
    spec = model.spec
    levels = spec.levels if query.levels is None else query.levels
    if levels > spec.levels:
        raise SessionError(
            ErrorCode.INVALID_SETTINGS, f"levels: {levels}, expected 1 to {spec.levels}"
        )
    if 0 < query.heartbeat_ms < 100:
        raise SessionError(
            ErrorCode.INVALID_SETTINGS, f"heartbeat_ms: {query.heartbeat_ms}, expected 0 or 100 up"
        )
    settings = StreamSettings(
        mode=query.mode,
        encoding=query.encoding,
        sample_rate_hz=query.sample_rate or spec.sample_rate_hz,
        channels=query.channels,
        levels=levels,
        pace=query.pace,
        heartbeat_ms=query.heartbeat_ms,
        is_json=is_json,
        frames_per_packet=query.frames_per_packet,
    )
    return settings, model


def _resume(
    service: Service, socket: WebSocket, query: StreamQuery, caller: Caller
) -> tuple[Stream, SocketConnection]:
    """Put a session on a new connection."""
    assert query.resume is not None
    resumed = service.streams.find(query.resume, caller)
    session = resumed.session
    if session.settings.is_json != (_chosen(socket.scope["subprotocols"]) == SUBPROTOCOL_JSON):
        raise SessionError(
            ErrorCode.RESUME_FAILED, "the session was opened with the other subprotocol"
        )
    session.outbox.rewind(query.received)
    connection = SocketConnection(socket, resumed)
    resumed.attach(connection)
    session.outbox.put_first(
        encode_message(
            SessionResumed(resumed.id, session.next_sequence, session.outbox.next_sequence)
        )
    )
    return resumed, connection


async def _refuse(service: Service, socket: WebSocket, error: SessionError) -> None:
    service.metrics.rejected.labels(error.code.value).inc()
    assert error.close_code is not None, f"{error.code} refuses nothing"
    try:
        await socket.send_text(encode_message(error_message(error)))
        await socket.close(error.close_code, error.code.value)
    except (WebSocketDisconnect, RuntimeError):
        pass  # the client has left by itself


def _created(service: Service, opened: Stream) -> SessionCreated:
    settings, spec, limits = opened.session.settings, opened.model.spec, service.settings
    return SessionCreated(
        session_id=opened.id,
        mode=settings.mode,
        encoding=settings.encoding,
        sample_rate_hz=settings.sample_rate_hz,
        channels=settings.channels,
        levels=settings.levels,
        pace=settings.pace,
        frames_per_packet=settings.frames_per_packet,
        subprotocol=SUBPROTOCOL_JSON if settings.is_json else SUBPROTOCOL_BINARY,
        model=ModelInfo(
            spec.name,
            spec.version,
            spec.model_sha256,
            spec.sample_rate_hz,
            spec.hop_samples,
            spec.code_sizes,
            spec.codes_per_level,
        ),
        delay=Delay(
            algorithmic_ms=spec.latency_ms,
            resampler_ms=resampler_delay_ms(settings.sample_rate_hz, spec.sample_rate_hz),
        ),
        limits=SessionLimits(
            limits.max_message_bytes,
            limits.idle_seconds,
            limits.session_seconds,
            limits.max_ahead_ms,
        ),
        resume=ResumeInfo(opened.resume_token, limits.resume_seconds),
    )


def resampler_delay_ms(client_rate_hz: int, codec_rate_hz: int) -> float:
    """Return how long one conversion holds samples back, as grove.codec.resample documents it."""
    if client_rate_hz == codec_rate_hz:
        return 0.0
    return 74.0 if min(client_rate_hz, codec_rate_hz) < 16_000 else 39.0
