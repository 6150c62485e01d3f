"""`/v1/encode`, `/v1/decode`, `/v1/transcode`."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response, StreamingResponse

from grove.server.api_docs import (
    AUDIO_BODY,
    AUDIO_REPLY,
    TOKENS_BODY,
    TOKENS_REPLY,
    problem_replies,
)
from grove.server.auth import Caller
from grove.server.files.codec import Progress
from grove.server.files.formats import audio_format, token_format
from grove.server.files.transfer import (
    Decode,
    Encode,
    OpenTransfer,
    Transcode,
    Transfer,
    open_transfer,
)
from grove.server.files.upload import received_body
from grove.server.models import Model
from grove.server.problems import Problem, ProblemCode
from grove.server.routes.queries import (
    DecodeQuery,
    EncodeQuery,
    ModelQuery,
    TranscodeQuery,
    with_fields,
)
from grove.server.service import caller_of, service_of

router = APIRouter(prefix="/v1", tags=["files"])

CallerParam = Annotated[Caller, Depends(caller_of)]
_Q = TypeVar("_Q", bound=ModelQuery)
_MOST_HEADER_CHARS = 500


@router.post(
    "/encode",
    summary="Audio to tokens",
    response_class=StreamingResponse,
    responses={200: TOKENS_REPLY, **problem_replies("post")},
    openapi_extra=AUDIO_BODY,
)
async def encode(
    request: Request, caller: CallerParam, query: Annotated[EncodeQuery, Query()]
) -> Response:
    service = service_of(request)

    def transfer(query: EncodeQuery) -> Encode:
        chosen = service.find_model(query.model)
        return Encode(
            model=chosen,
            max_seconds=service.settings.max_audio_seconds,
            levels=checked_levels(query.levels, chosen),
            format=token_format(query.format, request.headers.get("accept")),
        )

    return await _reply(request, caller, query, transfer)


@router.post(
    "/transcode",
    summary="Audio through the codec",
    response_class=StreamingResponse,
    responses={200: AUDIO_REPLY, **problem_replies("post")},
    openapi_extra=AUDIO_BODY,
)
async def transcode(
    request: Request, caller: CallerParam, query: Annotated[TranscodeQuery, Query()]
) -> Response:
    service = service_of(request)

    def transfer(query: TranscodeQuery) -> Transcode:
        chosen = service.find_model(query.model)
        return Transcode(
            model=chosen,
            max_seconds=service.settings.max_audio_seconds,
            levels=checked_levels(query.levels, chosen),
            format=audio_format(query.format, request.headers.get("accept")),
            sample_rate_hz=query.sample_rate or chosen.spec.sample_rate_hz,
        )

    return await _reply(request, caller, query, transfer)


@router.post(
    "/decode",
    summary="Tokens to audio",
    response_class=StreamingResponse,
    responses={200: AUDIO_REPLY, **problem_replies("post")},
    openapi_extra=TOKENS_BODY,
)
async def decode(
    request: Request, caller: CallerParam, query: Annotated[DecodeQuery, Query()]
) -> Response:
    service = service_of(request)

    def transfer(query: DecodeQuery) -> Decode:
        chosen = service.find_model(query.model)
        return Decode(
            model=chosen,
            max_seconds=service.settings.max_audio_seconds,
            format=audio_format(query.format, request.headers.get("accept")),
            sample_rate_hz=query.sample_rate or chosen.spec.sample_rate_hz,
            conceals_damage=query.damage == "conceal",
        )

    return await _reply(request, caller, query, transfer)


def checked_levels(levels: int | None, model: Model) -> int:
    if levels is not None and levels > model.spec.levels:
        raise Problem(
            ProblemCode.INVALID_PARAMETER,
            f"levels is {levels}, expected 1 to {model.spec.levels}",
            pointer="#/query/levels",
        )
    return model.spec.levels if levels is None else levels


async def _reply(
    request: Request, caller: Caller, query: _Q, transfer_of: Callable[[_Q], Transfer]
) -> Response:
    """Answer once the first bytes are there: until then anything wrong gets its own status."""
    service = service_of(request)
    transfer_of(query)  # what is wrong with the query need not wait for the body
    who, progress = caller.identity, Progress()
    service.allowances.check(who)
    stack = AsyncExitStack()
    try:
        stack.enter_context(service.admission.request(caller))
        body = await stack.enter_async_context(received_body(request, service.settings))
        service.allowances.use(who, size_bytes=body.path.stat().st_size)
        stack.callback(lambda: service.allowances.use(who, seconds=progress.seconds))
        asked = with_fields(query, body.fields)
        opened = await stack.enter_async_context(
            open_transfer(
                transfer_of(asked),
                body.path,
                service.machinery,
                service.find_model(asked.model) if asked.model else None,
                progress,
            )
        )
        first = b""
        async for first in opened.chunks:
            if first:
                break
    except BaseException:
        await stack.aclose()
        raise
    return StreamingResponse(
        _continued(stack, first, opened.chunks),
        headers=_headers(opened) | service.allowances.headers(who),
        media_type=opened.transfer.media_type,
    )


def _headers(opened: OpenTransfer) -> dict[str, str]:
    transfer = opened.transfer
    headers = {
        "Codec-Model": transfer.model.label,
        "Content-Disposition": f'attachment; filename="grove.{transfer.format}"',
    }
    if opened.damage:
        said = "; ".join(opened.damage).encode("ascii", "replace").decode()
        headers["Codec-Damage"] = said[:_MOST_HEADER_CHARS]
    return headers


async def _continued(
    stack: AsyncExitStack, first: bytes, chunks: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    async with stack:
        yield first
        async for chunk in chunks:
            if chunk:
                yield chunk
