"""The service, for asyncio: whole files, jobs and models by REST, streams by WebSocket."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import httpx

from grove_client import calls, views
from grove_client.calls import FileSettings, Operation, Source
from grove_client.errors import GroveError
from grove_client.line_async import AsyncLine
from grove_client.protocol import StreamSettings
from grove_client.retries import TIMEOUT_SECONDS, Attempts, Deadline, Retries
from grove_client.stream_async import AsyncStream
from grove_client.views import BrowserToken, Coded, Job, JobEvents, Model


class AsyncGrove:
    """One service; an async context manager, and safe to share between tasks."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        key: str | None = None,
        retries: Retries | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._url, self._key = url.rstrip("/"), key
        self._line = AsyncLine(self._url, key, retries or Retries(), timeout_seconds)
        self.jobs = AsyncJobs(self._line)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connections; streams that are open go on."""
        await self._line.close()

    async def encode(
        self,
        audio: Source,
        levels: int | None = None,
        format: Literal["grv", "json", "npy"] = "grv",  # noqa: A002 - the service's word
        *,
        model: str | None = None,
    ) -> bytes:
        """Return the tokens of a file of audio."""
        settings = FileSettings(levels, format, model)
        return (await self.convert("encode", audio, settings)).content

    async def decode(
        self,
        tokens: Source,
        format: Literal["wav", "flac", "ogg", "raw", "l16"] = "wav",  # noqa: A002
        *,
        sample_rate: int | None = None,
        model: str | None = None,
    ) -> bytes:
        """Return the audio of a file of tokens."""
        settings = FileSettings(None, format, model, sample_rate)
        return (await self.convert("decode", tokens, settings)).content

    async def transcode(
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
        return (await self.convert("transcode", audio, settings)).content

    async def convert(
        self,
        operation: Operation,
        source: Source,
        settings: FileSettings | None = None,
        target: Path | None = None,
    ) -> Coded:
        """Return a file as the service makes it; with a target, the bytes go there and not here."""
        call = calls.convert_call(operation, source, settings or FileSettings())
        return await self._line.file(call, target)

    async def models(self) -> list[Model]:
        """Return the bundles that the service has; the first one is the default."""
        return views.models_of(await self._line.body(calls.models_call()))

    async def token(self) -> BrowserToken:
        """Return what a page may use in place of the key, for a short time."""
        return views.token_of(await self._line.body(calls.token_call()))

    def stream(self, settings: StreamSettings) -> AsyncStream:
        """Return a session, which opens as an async context manager."""
        return AsyncStream(self._url, self._key, settings)


class AsyncJobs:
    """Long files, worked on in the background: `grove.jobs`."""

    def __init__(self, line: AsyncLine) -> None:
        self._line = line

    async def start(
        self,
        operation: Operation,
        source: Source,
        settings: FileSettings | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Hand a file over; a call that is repeated with its key starts one job."""
        chosen = settings or FileSettings()
        call = calls.start_job_call(operation, source, chosen, idempotency_key)
        return views.job_of(await self._line.body(call))

    async def get(self, job_id: str) -> Job:
        return views.job_of(await self._line.body(calls.job_call(job_id)))

    async def list(self) -> list[Job]:
        """Return all jobs of this key."""
        return views.jobs_of(await self._line.body(calls.jobs_call()))

    async def events(self, job_id: str) -> AsyncIterator[Job]:
        """Yield the job whenever it changes, until it has ended."""
        async with aclosing(self._events(job_id, Deadline(f"the job {job_id}"))) as jobs:
            async for job in jobs:
                yield job

    async def wait(self, job_id: str, seconds: float | None = None) -> Job:
        """Return the job once it is done; raise why it failed, or TimeoutError."""
        async with aclosing(self._events(job_id, Deadline(f"the job {job_id}", seconds))) as jobs:
            async for job in jobs:
                if job.has_ended:
                    return job.checked()
        raise AssertionError("events ended before the job did")

    async def result(self, job_id: str) -> bytes:
        """Return what a job that is done has made."""
        return await self._line.body(calls.result_call(job_id))

    async def download(self, job_id: str, target: Path) -> Coded:
        """Put the result into a file; where the line drops, the rest is asked for."""
        return await self._line.file(calls.result_call(job_id), target)

    async def delete(self, job_id: str) -> Job:
        """Cancel a job that runs, or drop one that has ended."""
        return views.job_of(await self._line.body(calls.delete_job_call(job_id)))

    async def _events(self, job_id: str, deadline: Deadline) -> AsyncGenerator[Job, None]:
        call = calls.events_call(job_id)
        attempts = Attempts(self._line.retries, call)
        told: Job | None = None
        while True:
            try:
                parser = JobEvents(job_id)
                async with aclosing(self._events_of_one_reply(call, deadline, parser)) as jobs:
                    async for job in jobs:
                        # Something came: what fails from here on is another failure.
                        attempts = Attempts(self._line.retries, call)
                        if job != told:
                            yield job
                        told = job
                        if job.has_ended:
                            return
                # The service ends the events of a job that takes long.
                await asyncio.sleep(deadline.at_most(views.EVENTS_PAUSE_SECONDS))
            except (GroveError, httpx.TransportError) as error:
                deadline.check()
                await asyncio.sleep(deadline.at_most(attempts.wait_seconds(error)))

    async def _events_of_one_reply(
        self, call: calls.Call, deadline: Deadline, parser: JobEvents
    ) -> AsyncGenerator[Job, None]:
        silence_seconds = deadline.at_most(views.EVENTS_SILENCE_SECONDS)
        async with self._line.opened(call, silence_seconds=silence_seconds) as reply:
            async for line in reply.aiter_lines():
                deadline.check()
                if (job := parser.line(line)) is not None:
                    yield job
