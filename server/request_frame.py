"""Middleware: an id, the model header, a log line, a metric, and problem documents."""

import secrets
import time
from typing import Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grove.codec.errors import CodecError
from grove.server.problems import Problem, ProblemCode, problem_of, problem_response
from grove.server.service import Service

_log = structlog.get_logger("request")
_MAX_ID_CHARS = 64
# What nginx calls it; nobody is there to be told.
CLIENT_LEFT: Final = 499


class RequestFrame:
    """Pure ASGI, so that it costs a stream of audio nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            # The server lets no body out; what a GET would say is what is asked for.
            scope = {**scope, "method": "GET"}
        frame = _Frame(scope["app"].state.service, scope, receive, send, request_id)
        try:
            frame.service.gate.check_host(Headers(scope=scope))
            await self._app(scope, frame.receive, frame.send)
        except Problem as problem:
            frame.service.metrics.rejected.labels(problem.code.value).inc()
            await problem_response(problem, request_id)(scope, frame.receive, frame.send)
        finally:
            frame.count()


class _Frame:
    """One request: what is added to its reply, and what is noted of it."""

    def __init__(
        self, service: Service, scope: Scope, receive: Receive, send: Send, request_id: str
    ) -> None:
        self.service = service
        self._scope = scope
        self._receive = receive
        self._send = send
        self._request_id = request_id
        self._started_s = time.monotonic()
        self._status = 500
        self._has_ended = False
        self._has_left = False
        self._bytes_in = 0
        self._bytes_out = 0

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._has_left = self._has_left or not self._has_ended
        self._bytes_in += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._request_id
            headers["X-Content-Type-Options"] = "nosniff"
            headers.setdefault("Codec-Model", self.service.shelf.default.label)
        elif message["type"] == "http.response.body":
            self._bytes_out += len(message.get("body", b""))
            self._has_ended = not message.get("more_body", False)
        await self._send(message)

    def count(self) -> None:
        # The route's template and not the path: paths hold job ids, and a metric must stay small.
        route = getattr(self._scope.get("route"), "path", "other")
        status = CLIENT_LEFT if self._has_left and not self._has_ended else self._status
        seconds = time.monotonic() - self._started_s
        metrics = self.service.metrics
        metrics.requests.labels(route, self._scope["method"], str(status)).inc()
        metrics.request_seconds.labels(route).observe(seconds)
        if route not in ("/health", "/live", "/ready", "/metrics"):
            state = self._scope.get("state", {})
            client = self._scope.get("client")
            _log.info(
                "request",
                method=self._scope["method"],
                route=route,
                status=status,
                seconds=round(seconds, 4),
                caller=state.get("caller"),
                address=client[0] if client else None,
                bytes_in=self._bytes_in,
                bytes_out=self._bytes_out,
            )


def _request_id(scope: Scope) -> str:
    """Return the caller's id where it is harmless, or a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given = str(value.decode("latin-1"))
            if given.replace("-", "").isalnum() and given.isascii() and len(given) <= _MAX_ID_CHARS:
                return given
    return secrets.token_hex(8)


def add_problem_handlers(app: FastAPI) -> None:
    """Turn everything that can be raised into a problem document."""
    app.add_exception_handler(CodecError, _on_codec_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(ClientDisconnect, _on_left)
    app.add_exception_handler(Exception, _on_fault)


def _respond(request: Request, problem: Problem) -> Response:
    service: Service = request.app.state.service
    service.metrics.rejected.labels(problem.code.value).inc()
    return problem_response(problem, request.state.request_id)


async def _on_codec_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, CodecError)
    return _respond(request, problem_of(error))


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = "/".join(str(part) for part in first["loc"])
    problem = Problem(
        ProblemCode.INVALID_PARAMETER, f"{place}: {first['msg']}", pointer=f"#/{place}"
    )
    return _respond(request, problem)


async def _on_http(request: Request, error: Exception) -> Response:
    """Give what the framework raises by itself the codes of PROTOCOL.md."""
    assert isinstance(error, HTTPException)
    codes = {code.status: code for code in ProblemCode}
    code = codes.get(error.status_code, ProblemCode.BAD_REQUEST)
    response = _respond(request, Problem(code, str(error.detail)))
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


async def _on_left(request: Request, error: Exception) -> Response:  # noqa: ARG001 - a handler
    return Response(status_code=CLIENT_LEFT)


async def _on_fault(request: Request, error: Exception) -> Response:
    _log.error("fault", error=repr(error), exc_info=error)
    return _respond(request, Problem(ProblemCode.INTERNAL_ERROR, "a fault of the server"))
