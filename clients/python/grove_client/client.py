"""The service, sync: whole files, jobs and models by REST, streams by WebSocket."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import httpx

from grove_client import calls, views
from grove_client.calls import FileSettings, Operation, Source
from grove_client.errors import GroveError
from grove_client.line import Line
from grove_client.protocol import StreamSettings
from grove_client.retries import TIMEOUT_SECONDS, Attempts, Deadline, Retries
from grove_client.stream import Stream
from grove_client.views import BrowserToken, Coded, Job, JobEvents, Model


class Grove:
    """One service; a context manager, and safe to share between threads."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        key: str | None = None,
        retries: Retries | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._url, self._key = url.rstrip("/"), key
        self._line = Line(self._url, key, retries or Retries(), timeout_seconds)
        self.jobs = Jobs(self._line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections; streams that are open go on."""
        self._line.close()

    def encode(
        self,
        audio: Source,
        levels: int | None = None,
        format: Literal["grv", "json", "npy"] = "grv",  # noqa: A002 - the service's word
        *,
        model: str | None = None,
    ) -> bytes:
        """Return the tokens of a file of audio."""
        settings = FileSettings(levels, format, model)
        return self.convert("encode", audio, settings).content

    def decode(
        self,
        tokens: Source,
        format: Literal["wav", "flac", "ogg", "raw", "l16"] = "wav",  # noqa: A002
        *,
        sample_rate: int | None = None,
        model: str | None = None,
    ) -> bytes:
        """Return the audio of a file of tokens."""
        settings = FileSettings(None, format, model, sample_rate)
        return self.convert("decode", tokens, settings).content

    def transcode(
        self,
        audio: Source,
        levels: int | None = None,
        format: Literal["wav", "flac", "ogg", "raw", "l16"] = "wav",  # noqa: A002
        *,
        sample_rate: int | None = None,
        model: str | None = None,
    ) -> bytes:
        """Return what the codec makes of a file of audio."""
        settings = FileSettings(levels, format, model, sample_rate)
        return self.convert("transcode", audio, settings).content

    def convert(
        self,
        operation: Operation,
        source: Source,
        settings: FileSettings | None = None,
        target: Path | None = None,
    ) -> Coded:
        """Return a file as the service makes it; with a target, the bytes go there and not here."""
        call = calls.convert_call(operation, source, settings or FileSettings())
        return self._line.file(call, target)

    def models(self) -> list[Model]:
        """Return the bundles that the service has; the first one is the default."""
        return views.models_of(self._line.body(calls.models_call()))

    def token(self) -> BrowserToken:
        """Return what a page may use in place of the key, for a short time."""
        return views.token_of(self._line.body(calls.token_call()))

    def stream(self, settings: StreamSettings) -> Stream:
        """Return a session, which opens as a context manager."""
        return Stream(self._url, self._key, settings)


class Jobs:
    """Long files, worked on in the background: `grove.jobs`."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def start(
        self,
        operation: Operation,
        source: Source,
        settings: FileSettings | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Hand a file over; a call that is repeated with its key starts one job."""
        chosen = settings or FileSettings()
        call = calls.start_job_call(operation, source, chosen, idempotency_key)
        return views.job_of(self._line.body(call))

    def get(self, job_id: str) -> Job:
        return views.job_of(self._line.body(calls.job_call(job_id)))

    def list(self) -> list[Job]:
        """Return all jobs of this key."""
        return views.jobs_of(self._line.body(calls.jobs_call()))

    def events(self, job_id: str) -> Iterator[Job]:
        """Yield the job whenever it changes, until it has ended."""
        yield from self._events(job_id, Deadline(f"the job {job_id}"))

    def wait(self, job_id: str, seconds: float | None = None) -> Job:
        """Return the job once it is done; raise why it failed, or TimeoutError."""
        for job in self._events(job_id, Deadline(f"the job {job_id}", seconds)):
            if job.has_ended:
                return job.checked()
        raise AssertionError("events ended before the job did")

    def result(self, job_id: str) -> bytes:
        """Return what a job that is done has made."""
        return self._line.body(calls.result_call(job_id))

    def download(self, job_id: str, target: Path) -> Coded:
        """Put the result into a file; where the line drops, the rest is asked for."""
        return self._line.file(calls.result_call(job_id), target)

    def delete(self, job_id: str) -> Job:
        """Cancel a job that runs, or drop one that has ended."""
        return views.job_of(self._line.body(calls.delete_job_call(job_id)))

    def _events(self, job_id: str, deadline: Deadline) -> Iterator[Job]:
        call = calls.events_call(job_id)
        attempts = Attempts(self._line.retries, call)
        told: Job | None = None
        while True:
            try:
                for job in self._events_of_one_reply(call, deadline, JobEvents(job_id)):
                    # Something came: what fails from here on is another failure.
                    attempts = Attempts(self._line.retries, call)
                    if job != told:
                        yield job
                    told = job
                    if job.has_ended:
                        return
                # The service ends the events of a job that takes long.
                time.sleep(deadline.at_most(views.EVENTS_PAUSE_SECONDS))
            except (GroveError, httpx.TransportError) as error:
                deadline.check()
                time.sleep(deadline.at_most(attempts.wait_seconds(error)))

    def _events_of_one_reply(
        self, call: calls.Call, deadline: Deadline, parser: JobEvents
    ) -> Iterator[Job]:
        silence_seconds = deadline.at_most(views.EVENTS_SILENCE_SECONDS)
        with self._line.opened(call, silence_seconds=silence_seconds) as reply:
            for line in reply.iter_lines():
                deadline.check()
                if (job := parser.line(line)) is not None:
                    yield job
