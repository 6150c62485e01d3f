"""Endpoints besides audio: health, models, metrics, tokens."""

import sqlite3
from contextlib import suppress
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from grove import __version__
from grove.codec.config import CodecSpec
from grove.server.admission import RETRY_AFTER_SECONDS
from grove.server.api_docs import json_reply, problem_replies
from grove.server.auth import Caller
from grove.server.metrics import exposition
from grove.server.routes.queries import no_query
from grove.server.service import caller_of, service_of

router = APIRouter(tags=["operations"])


class ModelView(msgspec.Struct, frozen=True):
    """A bundle as `/v1/models` shows it."""

    name: str
    version: str
    sha256: str
    default: bool
    sample_rate_hz: int
    hop_samples: int
    frame_rate_hz: float
    delay_ms: float
    levels: int
    code_sizes: tuple[int, ...]
    codes_per_level: tuple[int, ...]
    bitrates_bps: tuple[float, ...]


class ModelList(msgspec.Struct, frozen=True):
    models: tuple[ModelView, ...]


class Health(msgspec.Struct, frozen=True):
    status: str
    ready: bool
    draining: bool
    version: str
    models: tuple[str, ...]
    slots: int
    live_sessions: int
    file_sessions: int
    requests: int


class Version(msgspec.Struct, frozen=True):
    version: str
    protocol: int


class TokenView(msgspec.Struct, frozen=True):
    token: str
    seconds: int


class Liveness(msgspec.Struct, frozen=True):
    ok: bool


@router.get(
    "/health",
    summary="What runs here",
    response_class=Response,
    responses={200: json_reply("What runs here", Health)},
)
async def health(request: Request) -> Response:
    service = service_of(request)
    admission = service.admission
    return _json(
        Health(
            status="ok" if service.engine.alive else "failed",
            ready=service.is_ready,
            draining=admission.is_draining,
            version=__version__,
            models=tuple(model.label for model in service.shelf.models),
            slots=admission.slots,
            live_sessions=admission.live,
            file_sessions=admission.files,
            requests=admission.requests,
        )
    )


@router.get(
    "/live",
    summary="Whether to restart this process",
    response_class=Response,
    responses={
        200: json_reply("Whether to restart this process", Liveness),
        503: json_reply("No", Liveness),
    },
)
async def live(request: Request) -> Response:
    alive = service_of(request).engine.alive
    return _json(Liveness(alive), 200 if alive else 503)


@router.get(
    "/ready",
    summary="Whether to send work here",
    response_class=Response,
    responses={
        200: json_reply("Whether to send work here", Liveness),
        503: json_reply("No", Liveness),
    },
)
async def ready(request: Request) -> Response:
    is_ready = service_of(request).is_ready
    response = _json(Liveness(is_ready), 200 if is_ready else 503)
    if not is_ready:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


@router.get(
    "/version",
    summary="The version",
    response_class=Response,
    responses={200: json_reply("The version", Version)},
)
async def version() -> Response:
    return _json(Version(__version__, 1))


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
async def metrics(request: Request) -> Response:
    service = service_of(request)
    with suppress(sqlite3.Error, OSError):  # the rest must be seen just when the disk is in trouble
        queued, used_bytes, free_bytes = await service.jobs.usage()
        service.metrics.jobs_queued.set(queued)
        service.metrics.job_bytes.set(used_bytes)
        service.metrics.job_disk_free_bytes.set(free_bytes)
    body, media_type = exposition(service.metrics)
    return Response(body, headers={"Content-Type": media_type})


@router.get(
    "/v1/models",
    summary="The bundles served",
    dependencies=[Depends(no_query)],
    response_class=Response,
    responses={200: json_reply("The bundles", ModelList), **problem_replies("get")},
)
async def models(
    request: Request,
    caller: Annotated[Caller, Depends(caller_of)],  # noqa: ARG001 - lets in
) -> Response:
    shelf = service_of(request).shelf
    views = tuple(_view(model.spec, model is shelf.default) for model in shelf.models)
    return _json(ModelList(views))


@router.post(
    "/v1/tokens",
    summary="A short-lived token for a browser",
    dependencies=[Depends(no_query)],
    response_class=Response,
    responses={200: json_reply("The token", TokenView), **problem_replies("post")},
)
async def tokens(request: Request) -> Response:
    service = service_of(request)
    name = service.gate.key_name(request.headers)
    return _json(TokenView(service.gate.make_token(name), service.settings.token_seconds))


def _view(spec: CodecSpec, is_default: bool) -> ModelView:
    return ModelView(
        name=spec.name,
        version=spec.version,
        sha256=spec.model_sha256,
        default=is_default,
        sample_rate_hz=spec.sample_rate_hz,
        hop_samples=spec.hop_samples,
        frame_rate_hz=spec.frame_rate_hz,
        delay_ms=spec.latency_ms,
        levels=spec.levels,
        code_sizes=spec.code_sizes,
        codes_per_level=spec.codes_per_level,
        bitrates_bps=tuple(spec.bitrate_bps(level) for level in range(1, spec.levels + 1)),
    )


def _json(body: msgspec.Struct, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
