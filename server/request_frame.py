"""Around every request: an id, the model header, a log line, a metric, and problem documents."""

import secrets
import time
from collections.abc import MutableMapping
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from codec.errors import CodecError
from server.problems import Problem, ProblemCode, problem_of, problem_response
from server.service import Service

_log = structlog.get_logger("request")
_MAX_ID_CHARS = 64


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
        await self._framed(scope, receive, send, request_id)

    async def _framed(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        service: Service = scope["app"].state.service
        started_s = time.monotonic()
        status = 500

        async def send_framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
                headers.setdefault("Codec-Model", service.shelf.default.label)
            await send(message)

        try:
            await self._app(scope, receive, send_framed)
        finally:
            _count(service, scope, status, time.monotonic() - started_s)


def _count(service: Service, scope: MutableMapping[str, Any], status: int, seconds: float) -> None:
    # The route's template and not the path: paths hold job ids, and a metric must stay small.
    route = getattr(scope.get("route"), "path", "other")
    service.metrics.requests.labels(route, scope["method"], str(status)).inc()
    service.metrics.request_seconds.labels(route).observe(seconds)
    if route not in ("/health", "/live", "/ready", "/metrics"):
        _log.info(
            "request",
            method=scope["method"],
            route=route,
            status=status,
            seconds=round(seconds, 4),
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


async def _on_fault(request: Request, error: Exception) -> Response:
    _log.error("fault", error=repr(error), exc_info=error)
    return _respond(request, Problem(ProblemCode.INTERNAL_ERROR, "a fault of the server"))
