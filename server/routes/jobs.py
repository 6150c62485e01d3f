"""`/v1/jobs`: long files, worked on in the background and kept on disk."""

import asyncio
import hashlib
import re
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, assert_never

import msgspec
from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import FileResponse, Response, StreamingResponse

from grove.server.api_docs import ANY_BODY, AUDIO_REPLY, json_reply, problem_replies
from grove.server.files.formats import AudioFormat, TokenFormat, audio_format, token_format
from grove.server.files.transfer import (
    Decode,
    Encode,
    Operation,
    Transcode,
    Transfer,
    settled_transfer,
)
from grove.server.files.upload import content_length, is_form, receive_into
from grove.server.jobs.records import ENDED, Job
from grove.server.jobs.store import INPUT, RESULT
from grove.server.problems import Problem, ProblemCode
from grove.server.routes.files import CallerParam, checked_levels
from grove.server.routes.queries import JobQuery, no_query, with_fields
from grove.server.service import Service, service_of
from grove.server.settings import Settings

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_RANGES = re.compile(r"bytes=(\d+-\d*|-\d+)(,\s*(\d+-\d*|-\d+))*", re.ASCII)
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=255)]
_EVENTS = {
    "description": "Events named after the job's state, each with the job as data",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}
_EVENTS_PAUSE_SECONDS = 0.25
_EVENTS_SILENCE_SECONDS = 15
# Else streams of clients that vanished, and of slow jobs, would gather.
_EVENTS_SECONDS = 600


class JobLinks(msgspec.Struct, frozen=True, omit_defaults=True):
    self: str
    events: str
    result: str | None = None


class JobView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A job as its caller sees it."""

    id: str
    operation: Operation
    state: str
    model_sha256: str
    levels: int
    format: str
    created: float
    seconds_done: float
    links: JobLinks
    seconds_total: float | None = None
    percent: float | None = None
    ended: float | None = None
    expires_at: float | None = None
    result_bytes: int | None = None
    error_code: str | None = None
    error: str | None = None
    damage: tuple[str, ...] = ()


_JOB_EXAMPLE = json_reply(
    "The job",
    JobView,
    example={
        "id": "7c0e5a2f9b1d4e63",
        "operation": "encode",
        "state": "running",
        "model_sha256": "9f6e5d4c3b2a1908",
        "levels": 6,
        "format": "grv",
        "created": 1764288000.0,
        "seconds_done": 812.5,
        "seconds_total": 3600.0,
        "percent": 22.6,
        "links": {
            "self": "/v1/jobs/7c0e5a2f9b1d4e63",
            "events": "/v1/jobs/7c0e5a2f9b1d4e63/events",
        },
    },
)
_JOBS = json_reply("The jobs", JobView, is_list=True)


@router.post(
    "",
    status_code=202,
    summary="Start a job",
    response_class=Response,
    responses={202: _JOB_EXAMPLE, **problem_replies("post")},
    openapi_extra=ANY_BODY,
)
async def create(
    request: Request,
    caller: CallerParam,
    query: Annotated[JobQuery, Query()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    service = service_of(request)
    if (length := content_length(request)) is None:
        raise Problem(ProblemCode.LENGTH_REQUIRED, "a job needs a Content-Length")
    if query.operation is not None or not is_form(request):
        _transfer(query, request)  # what is wrong with the query need not wait for the body
    service.allowances.check(caller.identity)
    job_id = secrets.token_hex(8)
    folder = await service.jobs.reserve(job_id, caller.identity, length)
    try:
        with service.admission.request(caller), (folder / INPUT).open("wb") as file:
            fields = await receive_into(file, request, service.settings)
        service.allowances.use(caller.identity, size_bytes=(folder / INPUT).stat().st_size)
        asked = with_fields(query, fields)
        transfer = await settled_transfer(
            _transfer(asked, request),
            folder / INPUT,
            service.machinery,
            service.find_model(asked.model) if asked.model else None,
        )
        asked_for = _new_job(job_id, transfer, caller.identity)
        key = await _bound_key(idempotency_key, folder / INPUT, asked_for)
        job = await service.jobs.add(asked_for, key)
    except BaseException:
        await service.jobs.abandon(job_id)
        raise
    return _accepted(job, service.settings)


def _transfer(query: JobQuery, request: Request) -> Transfer:
    service, operation = service_of(request), query.operation
    if operation is None:
        raise Problem(
            ProblemCode.INVALID_PARAMETER,
            "operation is missing, expected encode, decode or transcode",
            pointer="#/query/operation",
        )
    chosen = service.find_model(query.model)
    levels = checked_levels(query.levels, chosen)
    rate_hz = query.sample_rate or chosen.spec.sample_rate_hz
    max_seconds = service.settings.max_job_seconds
    match operation:
        case "encode":
            return Encode(chosen, max_seconds, levels, _token_format(query.format, request))
        case "transcode":
            into = _audio_format(operation, query.format, request)
            return Transcode(chosen, max_seconds, levels, into, rate_hz)
        case "decode":
            into = _audio_format(operation, query.format, request)
            return Decode(chosen, max_seconds, into, rate_hz, query.damage == "conceal")
        case _:
            assert_never(operation)


async def _bound_key(idempotency_key: str | None, path: Path, job: Job) -> tuple[str, str] | None:
    """Return an idempotency key as it is kept, and what the request is that it stands for."""
    if idempotency_key is None:
        return None
    digest = hashlib.sha256(f"{job.caller}\n{idempotency_key}".encode()).hexdigest()
    return digest, await asyncio.to_thread(_fingerprint, path, job)


@router.get(
    "",
    summary="The caller's jobs",
    dependencies=[Depends(no_query)],
    response_class=Response,
    responses={200: _JOBS, **problem_replies("get")},
)
async def list_jobs(request: Request, caller: CallerParam) -> Response:
    service = service_of(request)
    jobs = await service.jobs.listed(caller.identity)
    return _json([_view(job, service.settings) for job in jobs])


@router.get(
    "/{job_id}",
    summary="State and progress of a job",
    dependencies=[Depends(no_query)],
    response_class=Response,
    responses={200: _JOB_EXAMPLE, **problem_replies("get")},
)
async def get(request: Request, caller: CallerParam, job_id: str) -> Response:
    service = service_of(request)
    return _json(_view(await service.jobs.get(job_id, caller.identity), service.settings))


@router.get(
    "/{job_id}/result",
    summary="The result of a job, or a range of it",
    dependencies=[Depends(no_query)],
    response_class=FileResponse,
    responses={200: AUDIO_REPLY, 206: AUDIO_REPLY, **problem_replies("get")},
)
async def result(request: Request, caller: CallerParam, job_id: str) -> Response:
    service = service_of(request)
    job = await service.jobs.get(job_id, caller.identity)
    if job.state != "done":
        raise Problem(ProblemCode.CONFLICT, f"the job is {job.state} and has no result")
    path = service.jobs.folder(job_id) / RESULT
    if not path.is_file():
        raise Problem(ProblemCode.NOT_FOUND, "the result of the job is no longer there")
    _check_range(request.headers.get("range"), job.result_bytes or 0)
    return FileResponse(
        path,
        media_type=job.media_type,
        filename=f"{job.id}.{job.format}",
    )


@router.get(
    "/{job_id}/events",
    summary="Progress of a job, as server-sent events until it ends",
    dependencies=[Depends(no_query)],
    response_class=StreamingResponse,
    responses={200: _EVENTS, **problem_replies("get")},
)
async def events(request: Request, caller: CallerParam, job_id: str) -> Response:
    service = service_of(request)
    await service.jobs.get(job_id, caller.identity)
    return StreamingResponse(
        _events(service, job_id, caller.identity),
        media_type="text/event-stream",
        # nginx would hold events back otherwise.
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(service: Service, job_id: str, caller: str) -> AsyncIterator[bytes]:
    """Yield the job whenever it has changed; a client whose stream ends too soon asks again."""
    told = b""
    until_s = time.monotonic() + _EVENTS_SECONDS
    spoken_s = time.monotonic()
    while time.monotonic() < until_s and not service.admission.is_draining:
        try:
            job = await service.jobs.get(job_id, caller)
        except Problem:
            yield b"event: deleted\ndata: {}\n\n"
            return
        data = msgspec.json.encode(_view(job, service.settings))
        if data != told:
            told, spoken_s = data, time.monotonic()
            yield b"event: " + job.state.encode() + b"\ndata: " + data + b"\n\n"
        elif time.monotonic() - spoken_s > _EVENTS_SILENCE_SECONDS:
            spoken_s = time.monotonic()
            yield b": still there\n\n"
        if job.state in ENDED:
            return
        await asyncio.sleep(_EVENTS_PAUSE_SECONDS)


@router.delete(
    "/{job_id}",
    summary="Cancel a job, or drop one that ended",
    dependencies=[Depends(no_query)],
    response_class=Response,
    responses={200: _JOB_EXAMPLE, **problem_replies("get")},
)
async def delete(request: Request, caller: CallerParam, job_id: str) -> Response:
    service = service_of(request)
    return _json(_view(await service.jobs.delete(job_id, caller.identity), service.settings))


def _check_range(header: str | None, size_bytes: int) -> None:
    """Refuse as a problem document what FileResponse would refuse as text."""
    if header is None:
        return
    if not _RANGES.fullmatch(header):
        raise Problem(
            ProblemCode.BAD_REQUEST, f"Range is {header[:80]!r}, expected bytes=first-last"
        )
    for part in header.removeprefix("bytes=").split(","):
        first, last = part.strip().split("-")
        if (first and int(first) >= size_bytes) or (first and last and int(first) > int(last)):
            raise Problem(
                ProblemCode.RANGE_NOT_SATISFIABLE,
                f"the result has {size_bytes} bytes, {part.strip()} is outside",
            )


def _audio_format(operation: Operation, asked: str | None, request: Request) -> AudioFormat:
    match asked:
        case None | "wav" | "flac" | "ogg" | "raw" | "l16":
            return audio_format(asked, request.headers.get("accept"))
    raise _wrong_format(operation, asked)


def _token_format(asked: str | None, request: Request) -> TokenFormat:
    match asked:
        case None | "grv" | "json" | "npy":
            return token_format(asked, request.headers.get("accept"))
    raise _wrong_format("encode", asked)


def _wrong_format(operation: Operation, asked: str) -> Problem:
    return Problem(
        ProblemCode.INVALID_PARAMETER,
        f"format is {asked}, which {operation} does not give",
        pointer="#/query/format",
    )


def _new_job(job_id: str, transfer: Transfer, caller: str) -> Job:
    spec = transfer.model.spec
    return Job(
        id=job_id,
        caller=caller,
        operation=transfer.operation,
        model_sha256=spec.model_sha256,
        levels=spec.levels if isinstance(transfer, Decode) else transfer.levels,
        format=transfer.format,
        sample_rate_hz=(
            spec.sample_rate_hz if isinstance(transfer, Encode) else transfer.sample_rate_hz
        ),
        media_type=transfer.media_type,
        created=time.time(),
        conceals_damage=isinstance(transfer, Decode) and transfer.conceals_damage,
    )


def _fingerprint(path: Path, job: Job) -> str:
    """Return what makes two requests the same: the settings and the bytes."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    parts = (
        job.operation,
        job.model_sha256,
        job.levels,
        job.format,
        job.sample_rate_hz,
        job.conceals_damage,
    )
    digest.update(repr(parts).encode())
    return digest.hexdigest()


def _view(job: Job, settings: Settings) -> JobView:
    base = f"/v1/jobs/{job.id}"
    return JobView(
        id=job.id,
        operation=job.operation,
        state=job.state,
        model_sha256=job.model_sha256,
        levels=job.levels,
        format=job.format,
        created=job.created,
        seconds_done=job.seconds_done,
        links=JobLinks(base, f"{base}/events", f"{base}/result" if job.state == "done" else None),
        seconds_total=job.seconds_total,
        percent=_percent(job),
        ended=job.ended,
        expires_at=None if job.ended is None else job.ended + settings.job_expiry_seconds,
        result_bytes=job.result_bytes,
        error_code=job.error_code,
        error=job.error,
        damage=job.damage,
    )


def _percent(job: Job) -> float | None:
    if job.state == "done":
        return 100.0
    if not job.seconds_total:
        return None
    # The codec's last frame reaches beyond the audio, and a claim may be short.
    return round(min(99.9, 100 * job.seconds_done / job.seconds_total), 1)


def _accepted(job: Job, settings: Settings) -> Response:
    response = _json(_view(job, settings), status=202)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return response


def _json(body: JobView | list[JobView], status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
