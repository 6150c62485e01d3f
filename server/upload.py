"""Bodies of requests, on disk, within the limits on bytes and time."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from server.problems import Problem, ProblemCode
from server.settings import Settings

_COPY_BYTES = 1 << 20


@asynccontextmanager
async def received_body(request: Request, settings: Settings) -> AsyncIterator[Path]:
    """Write the body to a temporary file that is gone afterwards."""
    with tempfile.NamedTemporaryFile(prefix="grove-upload-") as file:
        await receive_into(file.file, request, settings)
        yield Path(file.name)


async def receive_into(file: IO[bytes], request: Request, settings: Settings) -> int:
    """Write the body's file to `file` and return its size in bytes."""
    declared = content_length(request)
    if declared is not None and declared > settings.max_body_bytes:
        raise _too_large(declared, settings)
    try:
        async with asyncio.timeout(settings.body_deadline_seconds):
            if request.headers.get("content-type", "").startswith("multipart/form-data"):
                size = await _receive_multipart(file, request, settings)
            else:
                size = 0
                async for chunk in _bounded(request, settings):
                    size += file.write(chunk)
    except TimeoutError:
        raise Problem(
            ProblemCode.BODY_TIMEOUT,
            f"the body did not arrive within {settings.body_deadline_seconds:g} seconds",
        ) from None
    if size == 0:
        raise Problem(ProblemCode.BAD_REQUEST, "the body is empty, expected a file")
    file.flush()
    return size


def content_length(request: Request) -> int | None:
    value = request.headers.get("content-length")
    if value is None:
        return None
    if not value.isdecimal():
        raise Problem(ProblemCode.BAD_REQUEST, f"Content-Length is {value[:40]!r}, not a number")
    return int(value)


async def _receive_multipart(file: IO[bytes], request: Request, settings: Settings) -> int:
    try:
        parser = MultiPartParser(
            request.headers, _bounded(request, settings), max_files=1, max_fields=8
        )
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise Problem(ProblemCode.BAD_REQUEST, f"the multipart body is damaged: {error}") from error
    size = 0
    try:
        part = form.get("file")
        if not isinstance(part, UploadFile):
            raise Problem(ProblemCode.BAD_REQUEST, "a multipart body needs one part named `file`")
        while chunk := await part.read(_COPY_BYTES):
            size += file.write(chunk)
    finally:
        await form.close()
    return size


async def _bounded(request: Request, settings: Settings) -> AsyncGenerator[bytes, None]:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > settings.max_body_bytes:
            raise _too_large(size, settings)
        yield chunk


def _too_large(size: int, settings: Settings) -> Problem:
    return Problem(
        ProblemCode.BODY_TOO_LARGE,
        f"the body has {size} bytes or more, at most {settings.max_body_bytes} are taken",
    )
