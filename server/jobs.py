"""Long files: one folder a job, so that a restart loses none that is finished."""

import asyncio
import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Literal

import msgspec
import structlog

from server.problems import Problem, ProblemCode
from server.settings import Settings

_log = structlog.get_logger("jobs")

JobState = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
_ENDED: Final = ("done", "failed", "cancelled", "interrupted")
_RECORD, _LOCK, _CANCEL = "job.json", "lock", "cancel"
INPUT, RESULT = "input", "result"


class Job(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a job; `progress` counts seconds of audio."""

    id: str
    caller: str
    operation: Literal["encode", "decode", "transcode"]
    model_sha256: str
    levels: int
    format: str
    sample_rate_hz: int
    media_type: str
    created: float
    state: JobState = "queued"
    seconds_done: float = 0.0
    ended: float | None = None
    result_bytes: int | None = None
    error_code: str | None = None
    error: str | None = None


RunJob = Callable[[Job], Awaitable[Job]]


class JobStore:
    """Jobs of all workers, in one folder; the worker that took a job holds a lock on it."""

    def __init__(self, settings: Settings) -> None:
        self._root = settings.state_dir / "jobs"
        self._keys = settings.state_dir / "idempotency"
        self._settings = settings
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._locks: dict[str, int] = {}
        self._tasks: dict[str, asyncio.Task[Job]] = {}

    @asynccontextmanager
    async def working(self, run: RunJob) -> AsyncIterator[None]:
        """Work on jobs, and drop those that expire, as long as the block lasts."""
        for folder in (self._root, self._keys):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        tasks = [asyncio.create_task(self._work(run)) for _ in range(self._settings.jobs_at_once)]
        tasks.append(asyncio.create_task(self._expire()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for job_id in list(self._locks):
                self._unlock(job_id)

    # --- what routes ask ------------------------------------------------------------------

    def folder(self, job_id: str) -> Path:
        """Return the folder of a job, which must be one of ours."""
        folder = self._root / job_id
        if not (job_id.isalnum() and (folder / _RECORD).is_file()):
            raise Problem(ProblemCode.NOT_FOUND, f"there is no job {job_id[:40]!r}")
        return folder

    def get(self, job_id: str, caller: str) -> Job:
        job = self._read(self.folder(job_id))
        if job.caller != caller:
            raise Problem(ProblemCode.NOT_FOUND, f"there is no job {job_id[:40]!r}")
        return job

    def listed(self, caller: str) -> list[Job]:
        jobs = (self._read(path.parent) for path in self._root.glob(f"*/{_RECORD}"))
        return sorted((job for job in jobs if job.caller == caller), key=lambda job: job.created)

    def stage(self) -> Path:
        """Return a new folder for a job whose input is still on its way."""
        folder = self._root / f"new-{secrets.token_hex(8)}"
        folder.mkdir(mode=0o700)
        return folder

    def add(self, job: Job, staged: Path) -> Job:
        """Make a staged folder a job and queue it."""
        if len(self.listed(job.caller)) >= self._settings.jobs_per_caller:
            raise Problem(
                ProblemCode.TOO_MANY_REQUESTS,
                f"this caller has {self._settings.jobs_per_caller} jobs already",
                hint="delete jobs that are done with",
                retry_after_seconds=60,
            )
        self._lock(job.id, staged)
        _write(staged, job)
        staged.rename(self._root / job.id)
        self._queue.put_nowait(job.id)
        return job

    async def delete(self, job_id: str, caller: str) -> Job:
        """Cancel a job if it runs, and drop it if it ended."""
        job = self.get(job_id, caller)
        folder = self.folder(job_id)
        if job.state in _ENDED:
            shutil.rmtree(folder, ignore_errors=True)
            return job
        # Another worker may be at it: that one looks for this file.
        (folder / _CANCEL).touch()
        if job_id in self._locks and job_id not in self._tasks:
            job = msgspec.structs.replace(job, state="cancelled", ended=time.time())
            _write(folder, job)
            self._unlock(job_id)
        elif task := self._tasks.get(job_id):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        return self._read(folder)

    def claim_key(self, key: str, caller: str, fingerprint: str, job_id: str) -> str | None:
        """Bind an idempotency key to a job; return the id it is bound to already, if any."""
        digest = hashlib.sha256(f"{caller}\n{key}".encode()).hexdigest()
        path = self._keys / digest
        part = self._keys / f".{secrets.token_hex(8)}"
        part.write_text(f"{fingerprint} {job_id}")
        try:
            path.hardlink_to(part)
        except FileExistsError:
            bound, bound_id = path.read_text().split()
            if bound != fingerprint:
                raise Problem(
                    ProblemCode.INVALID_PARAMETER,
                    "this Idempotency-Key was used for another request",
                    pointer="#/header/Idempotency-Key",
                ) from None
            if (self._root / bound_id / _RECORD).is_file():
                return bound_id
            part.replace(path)  # its job has expired
            return None
        finally:
            part.unlink(missing_ok=True)
        return None

    def progress(self, job: Job, seconds_done: float) -> Job:
        """Note how far a running job is; raise CancelledError if another worker cancelled it."""
        folder = self._root / job.id
        if (folder / _CANCEL).exists():
            raise asyncio.CancelledError
        job = msgspec.structs.replace(job, seconds_done=round(seconds_done, 2))
        _write(folder, job)
        return job

    # --- the work -------------------------------------------------------------------------

    async def _work(self, run: RunJob) -> None:
        while True:
            job_id = await self._queue.get()
            folder = self._root / job_id
            if not (folder / _RECORD).is_file() or self._read(folder).state != "queued":
                continue
            job = msgspec.structs.replace(self._read(folder), state="running")
            _write(folder, job)
            task = asyncio.ensure_future(run(job))
            self._tasks[job_id] = task
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                task.cancel()
                await asyncio.wait([task])
                _write(folder, msgspec.structs.replace(job, state="interrupted", ended=time.time()))
                raise
            finally:
                del self._tasks[job_id]
            self._end(job, folder, task)

    def _end(self, job: Job, folder: Path, task: asyncio.Task[Job]) -> None:
        if task.cancelled():
            ended = msgspec.structs.replace(job, state="cancelled", ended=time.time())
        elif error := task.exception():
            _log.error("job_failed", job=job.id, error=repr(error))
            ended = msgspec.structs.replace(
                job, state="failed", ended=time.time(), error_code="internal_error"
            )
        else:
            ended = task.result()
        if folder.is_dir():
            _write(folder, ended)
        (folder / INPUT).unlink(missing_ok=True)
        self._unlock(job.id)

    async def _expire(self) -> None:
        while True:
            oldest = time.time() - self._settings.job_expiry_seconds
            for path in list(self._root.glob(f"*/{_RECORD}")):
                job = self._read(path.parent)
                if job.ended is not None and job.ended < oldest:
                    shutil.rmtree(path.parent, ignore_errors=True)
            for folder in [*self._root.glob("new-*"), *self._keys.iterdir()]:
                with suppress(OSError):
                    if folder.stat().st_mtime < oldest:
                        shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
            await asyncio.sleep(min(60.0, self._settings.job_expiry_seconds / 2))

    # --- the folder -----------------------------------------------------------------------

    def _read(self, folder: Path) -> Job:
        """Read a job; one whose worker is gone is interrupted."""
        job = msgspec.json.decode((folder / _RECORD).read_bytes(), type=Job)
        if job.state in _ENDED or job.id in self._locks or not self._is_orphan(folder):
            return job
        job = msgspec.structs.replace(job, state="interrupted", ended=time.time())
        _write(folder, job)
        return job

    def _is_orphan(self, folder: Path) -> bool:
        """Tell whether nobody holds the lock: the system drops it with the process."""
        descriptor = os.open(folder / _LOCK, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    def _lock(self, job_id: str, folder: Path) -> None:
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._locks[job_id] = descriptor

    def _unlock(self, job_id: str) -> None:
        os.close(self._locks.pop(job_id))


def _write(folder: Path, job: Job) -> None:
    part = folder / f".{secrets.token_hex(4)}"
    part.write_bytes(msgspec.json.encode(job))
    part.replace(folder / _RECORD)
