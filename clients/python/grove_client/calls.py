"""What the REST routes are asked, as values: no I/O."""

import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Operation = Literal["encode", "decode", "transcode"]
Source = bytes | Path


@dataclass(frozen=True)
class FileSettings:
    """What becomes of a file; None leaves the choice to the server."""

    levels: int | None = None
    format: str | None = None
    model: str | None = None
    sample_rate: int | None = None
    damage: Literal["refuse", "conceal"] | None = None

    @property
    def params(self) -> dict[str, str | int]:
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Call:
    """One request. One that is repeatable does no harm if the server gets it twice."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    params: dict[str, str | int] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: Source | None = None
    is_repeatable: bool = True
    # The reply stays the same, and its rest can be asked for.
    has_ranges: bool = False

    def headers_after(self, received_bytes: int) -> dict[str, str]:
        """Return the headers to send when the first bytes of the reply are there already."""
        if not (self.has_ranges and received_bytes):
            return self.headers
        return {**self.headers, "Range": f"bytes={received_bytes}-"}


def convert_call(operation: Operation, source: Source, settings: FileSettings) -> Call:
    return Call("POST", f"/v1/{operation}", settings.params, body=source)


def models_call() -> Call:
    return Call("GET", "/v1/models")


def token_call() -> Call:
    return Call("POST", "/v1/tokens")


def start_job_call(
    operation: Operation, source: Source, settings: FileSettings, idempotency_key: str | None
) -> Call:
    params = {"operation": operation, **settings.params}
    # With a key, a call whose answer was lost can be made again without a second job.
    headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
    return Call("POST", "/v1/jobs", params, headers, source)


def jobs_call() -> Call:
    return Call("GET", "/v1/jobs")


def job_call(job_id: str) -> Call:
    return Call("GET", f"/v1/jobs/{job_id}")


def events_call(job_id: str) -> Call:
    return Call("GET", f"/v1/jobs/{job_id}/events")


def result_call(job_id: str) -> Call:
    return Call("GET", f"/v1/jobs/{job_id}/result", has_ranges=True)


def delete_job_call(job_id: str) -> Call:
    # The first one cancels a job that runs, the second one would drop it.
    return Call("DELETE", f"/v1/jobs/{job_id}", is_repeatable=False)
