"""What the service refuses, as one kind of error."""

import json

import httpx
from websockets.exceptions import InvalidStatus


class GroveError(Exception):
    """What the service refused or broke off; `code` is one of PROTOCOL.md's.

    Of this client itself are `closed`, `line_lost`, `unreachable`, `resume_failed` and `http`.
    """

    def __init__(
        self,
        code: str,
        message: str,
        hint: str | None = None,
        retry_after: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}" + (f" ({hint})" if hint else ""))
        self.code = code
        self.hint = hint
        self.retry_after_seconds = retry_after
        self.status = status


def problem_of(status: int, body: bytes, retry_after: str | None = None) -> GroveError:
    """Return the error in a problem document, or what else a proxy may have answered."""
    seconds = _seconds(retry_after)
    try:
        said = json.loads(body)
        return GroveError(said["code"], said["detail"], said.get("hint"), seconds, status)
    except (ValueError, KeyError, TypeError):
        return GroveError("http", f"status {status}", None, seconds, status)


def reply_problem(reply: httpx.Response) -> GroveError:
    """Return the error in a reply whose body was read."""
    return problem_of(reply.status_code, reply.content, reply.headers.get("Retry-After"))


def refusal_of(refused: InvalidStatus) -> GroveError:
    """Return why a WebSocket was not opened."""
    response = refused.response
    retry_after = response.headers.get("Retry-After")
    return problem_of(response.status_code, bytes(response.body or b""), retry_after)


def _seconds(retry_after: str | None) -> float | None:
    """Return the seconds of a header; a date in it, as proxies send, counts for nothing."""
    try:
        return float(retry_after) if retry_after else None
    except ValueError:
        return None
