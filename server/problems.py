"""REST errors as RFC 9457 problem documents."""

from enum import Enum
from typing import Final

import msgspec
from starlette.responses import Response

from grove.codec.errors import CodecError, ModelMismatchError, TruncatedAudioError

MEDIA_TYPE: Final = "application/problem+json"


class ProblemCode(Enum):
    """Every kind of refusal; the value is what the client reads."""

    BAD_REQUEST = "bad_request"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    NOT_ACCEPTABLE = "not_acceptable"
    BODY_TIMEOUT = "body_timeout"
    CONFLICT = "conflict"
    LENGTH_REQUIRED = "length_required"
    BODY_TOO_LARGE = "body_too_large"
    URL_TOO_LONG = "url_too_long"
    UNSUPPORTED_MEDIA = "unsupported_media"
    RANGE_NOT_SATISFIABLE = "range_not_satisfiable"
    INVALID_PARAMETER = "invalid_parameter"
    BAD_CONTENT = "bad_content"
    UPGRADE_REQUIRED = "upgrade_required"
    HEADERS_TOO_LARGE = "headers_too_large"
    TOO_MANY_REQUESTS = "too_many_requests"
    INTERNAL_ERROR = "internal_error"
    OVERLOADED = "overloaded"
    INSUFFICIENT_STORAGE = "insufficient_storage"

    @property
    def status(self) -> int:
        return _STATUSES[self]


_STATUSES: Final[dict[ProblemCode, int]] = {
    ProblemCode.BAD_REQUEST: 400,
    ProblemCode.UNAUTHORIZED: 401,
    ProblemCode.FORBIDDEN: 403,
    ProblemCode.NOT_FOUND: 404,
    ProblemCode.METHOD_NOT_ALLOWED: 405,
    ProblemCode.NOT_ACCEPTABLE: 406,
    ProblemCode.BODY_TIMEOUT: 408,
    ProblemCode.CONFLICT: 409,
    ProblemCode.LENGTH_REQUIRED: 411,
    ProblemCode.BODY_TOO_LARGE: 413,
    ProblemCode.URL_TOO_LONG: 414,
    ProblemCode.UNSUPPORTED_MEDIA: 415,
    ProblemCode.RANGE_NOT_SATISFIABLE: 416,
    ProblemCode.INVALID_PARAMETER: 422,
    ProblemCode.BAD_CONTENT: 422,
    ProblemCode.UPGRADE_REQUIRED: 426,
    ProblemCode.TOO_MANY_REQUESTS: 429,
    ProblemCode.HEADERS_TOO_LARGE: 431,
    ProblemCode.INTERNAL_ERROR: 500,
    ProblemCode.OVERLOADED: 503,
    ProblemCode.INSUFFICIENT_STORAGE: 507,
}


class Problem(CodecError):  # noqa: N818 - RFC 9457's word
    """A refusal of one request."""

    def __init__(
        self,
        code: ProblemCode,
        message: str,
        hint: str | None = None,
        *,
        pointer: str | None = None,
        retry_after_seconds: int | None = None,
        left_bytes: int | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.code = code
        self.left_bytes = left_bytes
        self.pointer = pointer
        self.retry_after_seconds = retry_after_seconds


class ProblemDocument(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of an error reply."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    pointer: str | None = None
    hint: str | None = None
    left_bytes: int | None = None


def problem_of(error: CodecError) -> Problem:
    """Return what a client is told about an error of the codec."""
    match error:
        case Problem():
            return error
        case ModelMismatchError():
            return Problem(ProblemCode.CONFLICT, str(error))
        case TruncatedAudioError():
            # Its advice is for who opens the file.
            return Problem(ProblemCode.BAD_CONTENT, str(error))
        case _:
            return Problem(ProblemCode.BAD_CONTENT, str(error), error.hint)


def problem_response(problem: Problem, request_id: str) -> Response:
    document = ProblemDocument(
        type=f"urn:grove:problem:{problem.code.value}",
        title=problem.code.value.replace("_", " ").capitalize(),
        status=problem.code.status,
        detail=str(problem),
        code=problem.code.value,
        request_id=request_id,
        pointer=problem.pointer,
        hint=problem.hint,
        left_bytes=problem.left_bytes,
    )
    headers = {}
    if problem.retry_after_seconds is not None:
        headers["Retry-After"] = str(problem.retry_after_seconds)
    if problem.code is ProblemCode.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(
        msgspec.json.encode(document), problem.code.status, headers, media_type=MEDIA_TYPE
    )
