"""`/v1/encode`, `/v1/decode`, `/v1/transcode`."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response, StreamingResponse

from codec.resample import MAX_RATE_HZ, MIN_RATE_HZ
from server.api_docs import AUDIO_BODY, AUDIO_REPLY, TOKENS_BODY, TOKENS_REPLY, problem_replies
from server.auth import Caller
from server.files import Progress
from server.formats import AudioFormat, TokenFormat, audio_format, token_format
from server.models import Model
from server.problems import Problem, ProblemCode
from server.service import Service, caller_of, service_of
from server.transfer import (
    Transfer,
    open_transfer,
)
from server.upload import received_body

router = APIRouter(prefix="/v1", tags=["files"])

Levels = Annotated[
    int | None, Query(ge=1, description="bitrate, in kbps for grove-24k", examples=[6])
]
ModelName = Annotated[str | None, Query(description="name, name@version or sha256 prefix")]
Rate = Annotated[
    int | None,
    Query(
        ge=MIN_RATE_HZ, le=MAX_RATE_HZ, description="sample rate of the reply", examples=[24_000]
    ),
]
CallerParam = Annotated[Caller, Depends(caller_of)]


@router.post(
    "/encode",
    summary="Audio to tokens",
    response_class=StreamingResponse,
    responses={200: TOKENS_REPLY, **problem_replies("post")},
    openapi_extra=AUDIO_BODY,
)
async def encode(
    request: Request,
    caller: CallerParam,
    *,
    levels: Levels = None,
    model: ModelName = None,
    format: TokenFormat | None = None,  # noqa: A002 - the name of the query parameter
) -> Response:
    service = service_of(request)
    chosen = service.find_model(model)
    transfer = Transfer(
        operation="encode",
        model=chosen,
        levels=checked_levels(levels, chosen),
        audio_format="wav",
        token_format=token_format(format, request.headers.get("accept")),
        sample_rate_hz=chosen.spec.sample_rate_hz,
        max_seconds=service.settings.max_audio_seconds,
    )
    return await _reply(request, service, caller, transfer)


@router.post(
    "/transcode",
    summary="Audio through the codec",
    response_class=StreamingResponse,
    responses={200: AUDIO_REPLY, **problem_replies("post")},
    openapi_extra=AUDIO_BODY,
)
async def transcode(
    request: Request,
    caller: CallerParam,
    *,
    levels: Levels = None,
    model: ModelName = None,
    format: AudioFormat | None = None,  # noqa: A002 - the name of the query parameter
    sample_rate: Rate = None,
) -> Response:
    service = service_of(request)
    chosen = service.find_model(model)
    transfer = Transfer(
        operation="transcode",
        model=chosen,
        levels=checked_levels(levels, chosen),
        audio_format=audio_format(format, request.headers.get("accept")),
        token_format="grv",
        sample_rate_hz=sample_rate or chosen.spec.sample_rate_hz,
        max_seconds=service.settings.max_audio_seconds,
    )
    return await _reply(request, service, caller, transfer)


@router.post(
    "/decode",
    summary="Tokens to audio",
    response_class=StreamingResponse,
    responses={200: AUDIO_REPLY, **problem_replies("post")},
    openapi_extra=TOKENS_BODY,
)
async def decode(
    request: Request,
    caller: CallerParam,
    *,
    model: ModelName = None,
    format: AudioFormat | None = None,  # noqa: A002 - the name of the query parameter
    sample_rate: Rate = None,
) -> Response:
    service = service_of(request)
    chosen = service.find_model(model)
    transfer = Transfer(
        operation="decode",
        model=chosen,
        levels=chosen.spec.levels,
        audio_format=audio_format(format, request.headers.get("accept")),
        token_format="grv",
        sample_rate_hz=sample_rate or chosen.spec.sample_rate_hz,
        max_seconds=service.settings.max_audio_seconds,
    )
    return await _reply(request, service, caller, transfer, asked=chosen if model else None)


def checked_levels(levels: int | None, model: Model) -> int:
    if levels is not None and levels > model.spec.levels:
        raise Problem(
            ProblemCode.INVALID_PARAMETER,
            f"levels is {levels}, expected 1 to {model.spec.levels}",
            pointer="#/query/levels",
        )
    return model.spec.levels if levels is None else levels


async def _reply(
    request: Request,
    service: Service,
    caller: Caller,
    transfer: Transfer,
    asked: Model | None = None,
) -> Response:
    """Answer once the first bytes are there: until then anything wrong gets its own status."""
    stack = AsyncExitStack()
    try:
        stack.enter_context(service.admission.request(caller))
        path = await stack.enter_async_context(received_body(request, service.settings))
        opened = await stack.enter_async_context(
            open_transfer(transfer, path, service.machinery, asked, Progress())
        )
        first = b""
        async for first in opened.chunks:
            if first:
                break
    except BaseException:
        await stack.aclose()
        raise
    transfer = opened.transfer
    headers = {
        "Codec-Model": transfer.model.label,
        "Content-Disposition": f'attachment; filename="grove.{transfer.extension}"',
    }
    return StreamingResponse(
        _continued(stack, first, opened.chunks),
        headers=headers,
        media_type=transfer.media_type,
    )


async def _continued(
    stack: AsyncExitStack, first: bytes, chunks: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    async with stack:
        yield first
        async for chunk in chunks:
            if chunk:
                yield chunk
