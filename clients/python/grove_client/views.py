"""What the service answers, as values."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from grove_client.calls import Operation
from grove_client.errors import GroveError

# The service says every 15 s that it is still there.
EVENTS_SILENCE_SECONDS: Final = 40
EVENTS_PAUSE_SECONDS: Final = 0.5
_ENDED: Final = frozenset({"done", "failed", "cancelled"})
_T = TypeVar("_T")


@dataclass(frozen=True)
class Coded:
    """A file that the service made: `content` is empty where it went to a file."""

    content: bytes
    model: str
    media_type: str
    damage: str | None


@dataclass(frozen=True)
class Model:
    """A bundle that the service has loaded."""

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


@dataclass(frozen=True)
class BrowserToken:
    """What stands for the key, for a short time, in a page that may not know it."""

    token: str
    seconds: int


@dataclass(frozen=True)
class Job:
    """A long file in the background."""

    id: str
    operation: Operation
    state: str
    model_sha256: str
    levels: int
    format: str
    created: float
    seconds_done: float
    seconds_total: float | None = None
    percent: float | None = None
    ended: float | None = None
    expires_at: float | None = None
    result_bytes: int | None = None
    error_code: str | None = None
    error: str | None = None
    damage: tuple[str, ...] = ()

    @property
    def has_ended(self) -> bool:
        return self.state in _ENDED

    def checked(self) -> "Job":
        """Return a job that is done, or raise why it is not."""
        if self.state == "done":
            return self
        raise GroveError(self.error_code or self.state, self.error or f"the job is {self.state}")


class JobEvents:
    """Server-sent events, line by line: the parser."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._kind = ""

    def line(self, line: str) -> Job | None:
        """Return the job that a line tells of, if it tells of one."""
        name, _, value = line.partition(": ")
        if name == "event":
            self._kind = value
        if name != "data":
            return None
        if self._kind == "deleted":
            raise GroveError("not_found", f"the job {self._job_id} was deleted", status=404)
        return job_of(value)


def job_of(body: bytes | str) -> Job:
    return _view(Job, json.loads(body))


def jobs_of(body: bytes) -> list[Job]:
    return [_view(Job, said) for said in json.loads(body)]


def models_of(body: bytes) -> list[Model]:
    return [_view(Model, said) for said in json.loads(body)["models"]]


def token_of(body: bytes) -> BrowserToken:
    return _view(BrowserToken, json.loads(body))


def coded_of(content: bytes, headers: Mapping[str, str]) -> Coded:
    return Coded(
        content,
        headers.get("Codec-Model", ""),
        headers.get("Content-Type", ""),
        headers.get("Codec-Damage"),
    )


def _view(kind: type[_T], said: dict[str, Any]) -> _T:
    """Return what was said; a later server may say more than is known here."""
    assert dataclasses.is_dataclass(kind)
    known = {one.name: said[one.name] for one in dataclasses.fields(kind) if one.name in said}
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in known.items()})
