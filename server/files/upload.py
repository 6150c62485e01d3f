"""Bodies of requests, on disk, within the limits on bytes and time."""

import asyncio
import errno
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fastapi import Request
from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from grove.server.problems import Problem, ProblemCode
from grove.server.settings import Settings

_COPY_BYTES = 1 << 20
_MAX_FIELDS = 8
_MAX_FIELD_BYTES = 1024


@dataclass(frozen=True)
class ReceivedBody:
    """A file on disk, and the fields of the form that it came in, if any."""

    path: Path
    fields: Mapping[str, str]


@asynccontextmanager
async def received_body(request: Request, settings: Settings) -> AsyncIterator[ReceivedBody]:
    """Write the body to a temporary file that is gone afterwards."""
    with tempfile.NamedTemporaryFile(prefix="grove-upload-") as file:
        fields = await receive_into(file.file, request, settings)
        yield ReceivedBody(Path(file.name), fields)


async def receive_into(file: IO[bytes], request: Request, settings: Settings) -> Mapping[str, str]:
    """Write the body's file to `file` and return the other fields of its form."""
    declared = content_length(request)
    if declared is not None and declared > settings.max_body_bytes:
        raise _too_large(declared, settings)
    fields: Mapping[str, str] = {}
    try:
        async with asyncio.timeout(settings.body_deadline_seconds):
            if is_form(request):
                fields = await _receive_multipart(file, request, settings)
            else:
                async for chunk in _bounded(request, settings):
                    file.write(chunk)
    except TimeoutError:
        raise Problem(
            ProblemCode.BODY_TIMEOUT,
            f"the body did not arrive within {settings.body_deadline_seconds:g} seconds",
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Problem(
            ProblemCode.INSUFFICIENT_STORAGE, "the disk for uploads is full", left_bytes=0
        ) from error
    if file.tell() == 0:
        raise Problem(ProblemCode.BAD_REQUEST, "the body is empty, expected a file")
    file.flush()
    return fields


def is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


def content_length(request: Request) -> int | None:
    value = request.headers.get("content-length")
    if value is None:
        return None
    if not value.isdecimal():
        raise Problem(ProblemCode.BAD_REQUEST, f"Content-Length is {value[:40]!r}, not a number")
    return int(value)


async def _receive_multipart(
    file: IO[bytes], request: Request, settings: Settings
) -> Mapping[str, str]:
    try:
        parser = MultiPartParser(
            request.headers,
            _bounded(request, settings),
            max_files=1,
            max_fields=_MAX_FIELDS,
            max_part_size=_MAX_FIELD_BYTES,
        )
        form = await parser.parse()
    # Names of encodings that do not exist, and bytes that are not in them, come as the last two.
    except (MultiPartException, FormParserError, LookupError, UnicodeError) as error:
        raise Problem(ProblemCode.BAD_REQUEST, f"the multipart body is damaged: {error}") from error
    try:
        part = form.get("file")
        if not isinstance(part, UploadFile):
            raise Problem(ProblemCode.BAD_REQUEST, "a multipart body needs one part named `file`")
        while chunk := await part.read(_COPY_BYTES):
            file.write(chunk)
        return _fields(form)
    finally:
        await form.close()


def _fields(form: FormData) -> Mapping[str, str]:
    fields: dict[str, str] = {}
    for name, value in form.multi_items():
        if name == "file":
            continue
        if not isinstance(value, str) or name in fields:
            raise Problem(
                ProblemCode.INVALID_PARAMETER,
                f"{name[:80]} is {'given twice' if name in fields else 'a file'}, expected a value",
                pointer=f"#/form/{name[:80]}",
            )
        fields[name] = value
    return fields


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
