"""Query parameters of the file routes, which may also be fields of a multipart form."""

from collections.abc import Mapping
from typing import Literal, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from grove.codec.resample import MAX_RATE_HZ, MIN_RATE_HZ
from grove.server.files.formats import AudioFormat, TokenFormat
from grove.server.files.transfer import Operation
from grove.server.problems import Problem, ProblemCode


class _Query(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelQuery(_Query):
    """What every operation takes."""

    model: str | None = Field(None, description="name, name@version or sha256 prefix")


class EncodeQuery(ModelQuery):
    """Of `/v1/encode`."""

    levels: int | None = Field(None, ge=1, description="bitrate, in kbps for grove-24k")
    format: TokenFormat | None = None


class _AudioQuery(ModelQuery):
    sample_rate: int | None = Field(
        None, ge=MIN_RATE_HZ, le=MAX_RATE_HZ, description="sample rate of the reply"
    )


class TranscodeQuery(_AudioQuery):
    """Of `/v1/transcode`."""

    levels: int | None = Field(None, ge=1, description="bitrate, in kbps for grove-24k")
    format: AudioFormat | None = None


class DecodeQuery(_AudioQuery):
    """Of `/v1/decode`."""

    format: AudioFormat | None = None
    damage: Literal["refuse", "conceal"] | None = Field(
        None, description="what to do about a damaged container; refuse is the default"
    )


class JobQuery(_AudioQuery):
    """Of `/v1/jobs`: `operation` is a must, but may come as a form field."""

    operation: Operation | None = None
    levels: int | None = Field(None, ge=1, description="bitrate, in kbps for grove-24k")
    format: AudioFormat | TokenFormat | None = None
    damage: Literal["refuse", "conceal"] | None = None


_Q = TypeVar("_Q", bound=_Query)


def with_fields(query: _Q, fields: Mapping[str, str]) -> _Q:
    """Return a query with the fields of a form in it; neither may contradict the other."""
    if not fields:
        return query
    given = query.model_dump(exclude_none=True)
    for name in fields.keys() & given.keys():
        raise Problem(
            ProblemCode.INVALID_PARAMETER,
            f"{name} is in the query and in the form, expected it once",
            pointer=f"#/form/{name}",
        )
    try:
        return type(query).model_validate({**given, **fields})
    except ValidationError as error:
        first = error.errors()[0]
        name = "/".join(str(part) for part in first["loc"])[:80]
        raise Problem(
            ProblemCode.INVALID_PARAMETER, f"{name}: {first['msg']}", pointer=f"#/form/{name}"
        ) from error


def no_query(request: Request) -> None:
    """Refuse parameters on a route that takes none: whoever sends one expects something of it."""
    for name in request.query_params:
        raise Problem(
            ProblemCode.INVALID_PARAMETER,
            f"{name[:80]}: this route takes no parameters",
            pointer=f"#/query/{name[:80]}",
        )
