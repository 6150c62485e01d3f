"""Long files: a record and a folder a job, so that a restart loses none."""

import asyncio
import os
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import structlog

from grove.server.jobs.ballast import Ballast
from grove.server.jobs.records import ENDED, Job, JobRecords, Quota, no_room
from grove.server.jobs.worker_locks import WorkerLocks
from grove.server.problems import Problem, ProblemCode
from grove.server.settings import Settings

_log = structlog.get_logger("jobs")

INPUT, RESULT, PART = "input", "result", "result.part"
_POLL_SECONDS: Final = 1.0
_T = TypeVar("_T")

RunJob = Callable[[Job], Awaitable[Job]]


class JobStore:
    """Jobs of all workers. What blocks runs on a thread of its own, in order."""

    def __init__(self, settings: Settings) -> None:
        self._root = settings.state_dir / "jobs"
        self._state_dir = settings.state_dir
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, "jobs")
        self._new = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[Job]] = {}
        # What could not be written because the disk was full, until it can.
        self._unsaved: dict[str, Job] = {}
        self._dropped: set[str] = set()

    @asynccontextmanager
    async def working(self, run: RunJob) -> AsyncIterator[None]:
        """Work on jobs, and drop those that expire, as long as the block lasts."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._locks = WorkerLocks(self._state_dir / "workers")
        settings = self._settings
        quota = Quota(settings.job_bytes, settings.job_bytes_per_caller, settings.jobs_per_caller)
        self._ballast = Ballast(self._state_dir / "ballast")
        base = self._state_dir / "jobs.db"
        self._records = await self._do(
            lambda: self._ballast.with_room(lambda: JobRecords(base, quota))
        )
        await self._do(self._recover)
        await self._do(self._drop_strays)
        tasks = [asyncio.create_task(self._work(run)) for _ in range(settings.jobs_at_once)]
        tasks.append(asyncio.create_task(self._tend()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._do(self._records.close)
            self._thread.shutdown()
            self._locks.release()

    # --- what routes ask ------------------------------------------------------------------

    def folder(self, job_id: str) -> Path:
        return self._root / job_id

    async def get(self, job_id: str, caller: str) -> Job:
        job = await self._find(job_id)
        if job is None or job.caller != caller:
            raise Problem(ProblemCode.NOT_FOUND, f"there is no job {job_id[:40]!r}")
        return job

    async def listed(self, caller: str) -> list[Job]:
        jobs = await self._do(lambda: self._records.listed(caller))
        kept = (self._unsaved.get(job.id, job) for job in jobs)
        return [job for job in kept if job.id not in self._dropped]

    async def reserve(self, job_id: str, caller: str, size_bytes: int) -> Path:
        """Take room for a job, or refuse with what is left; return the folder for its input."""
        await self._do(lambda: self._reserve(job_id, caller, size_bytes))
        return self.folder(job_id)

    async def add(self, job: Job, key: tuple[str, str] | None) -> Job:
        """Queue a job whose input is in its folder; an idempotency key may name an earlier one."""
        job_id = await self._do(lambda: self._queue(job, key))
        if job_id != job.id:
            await self.abandon(job.id)
            return await self.get(job_id, job.caller)
        self._new.set()
        return job

    async def abandon(self, job_id: str) -> None:
        """Give back what was reserved for a job that does not come to be."""
        await self._do(lambda: self._drop(job_id))

    async def delete(self, job_id: str, caller: str) -> Job:
        """Cancel a job if it runs, and drop it if it ended."""
        job = await self.get(job_id, caller)
        if job.state in ENDED:
            await self._do(lambda: self._drop(job_id))
            return job
        if task := self._tasks.get(job_id):
            task.cancel()
            await asyncio.wait([task])
        elif cancelled := await self._do(
            lambda: self._ballast.with_room(lambda: self._records.cancel(job_id))
        ):
            job = cancelled
            if job.state == "cancelled":
                (self.folder(job_id) / INPUT).unlink(missing_ok=True)
        while job_id in self._tasks:
            await asyncio.sleep(0.005)
        return await self._find(job_id) or job

    async def progress(self, job: Job, size_bytes: int) -> None:
        """Note how far a running job is; raise CancelledError if it is not wanted any more."""
        if await self._do(lambda: self._progress(job, size_bytes)):
            raise asyncio.CancelledError

    async def usage(self) -> tuple[int, int, int]:
        """Return how many jobs wait, the bytes that jobs take, and the bytes free on their disk."""
        return await self._do(
            lambda: (
                self._records.count("queued"),
                self._records.used_bytes(),
                shutil.disk_usage(self._root).free,
            )
        )

    # --- on the thread --------------------------------------------------------------------

    async def _do(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _reserve(self, job_id: str, caller: str, size_bytes: int) -> None:
        self._check_disk(size_bytes)
        try:
            self._records.reserve(job_id, caller, self._locks.name, size_bytes)
            self.folder(job_id).mkdir(mode=0o700)
        except (OSError, sqlite3.OperationalError) as error:
            _log.error("job_disk", error=str(error))
            raise no_room(size_bytes, 0) from error

    def _check_disk(self, size_bytes: int) -> None:
        free = shutil.disk_usage(self._root).free - self._settings.job_disk_reserve_bytes
        if size_bytes > free:
            raise no_room(size_bytes, max(0, free))

    def _queue(self, job: Job, key: tuple[str, str] | None) -> str:
        path = self.folder(job.id) / INPUT
        # A job that was accepted must not be lost to a power cut.
        _sync(path)
        _sync(path.parent)
        _sync(self._root)
        try:
            return self._records.queue(job, path.stat().st_size, key)
        except sqlite3.OperationalError as error:
            raise no_room(path.stat().st_size, 0) from error

    def _progress(self, job: Job, size_bytes: int) -> bool:
        free = shutil.disk_usage(self._root).free
        if free < self._settings.job_disk_reserve_bytes // 2:
            raise no_room(size_bytes, 0)
        try:
            self._records.grow(job, size_bytes)
            return self._records.is_cancelled(job.id)
        except sqlite3.OperationalError as error:
            _log.warning("progress_not_saved", job=job.id, error=str(error))
            return False

    def _drop(self, job_id: str) -> None:
        """Forget a job. Its folder goes first: that needs no room, and makes some."""
        shutil.rmtree(self.folder(job_id), ignore_errors=True)
        self._unsaved.pop(job_id, None)
        try:
            self._ballast.with_room(lambda: self._records.drop(job_id))
            self._dropped.discard(job_id)
        except sqlite3.OperationalError:
            self._dropped.add(job_id)

    def _end(self, job: Job) -> None:
        """Note how a job ended, as soon as the disk takes it."""
        folder = self.folder(job.id)
        if job.state != "interrupted":
            (folder / INPUT).unlink(missing_ok=True)
        if job.state != "done":
            (folder / PART).unlink(missing_ok=True)
        try:
            kept = None if job.state == "interrupted" else job.result_bytes or 0
            self._ballast.with_room(lambda: self._records.save(job, kept))
            self._unsaved.pop(job.id, None)
        except sqlite3.OperationalError as error:
            if job.id not in self._unsaved:
                _log.error("job_not_saved", job=job.id, state=job.state, error=str(error))
            self._unsaved[job.id] = job

    def _recover(self) -> None:
        """Let jobs of workers that are gone run again."""
        try:
            dead = self._locks.dead(self._records.workers())
            self._ballast.with_room(lambda: self._records.requeue(dead))
        except sqlite3.OperationalError as error:
            _log.error("jobs_not_recovered", error=str(error))

    def _drop_strays(self) -> None:
        """Drop records without a folder, which is how a deletion survives a full disk, and the
        reverse."""
        known = self._records.ids()
        for job_id in known:
            if not self.folder(job_id).is_dir():
                self._drop(job_id)
        oldest = time.time() - 3600
        for folder in self._root.iterdir():
            with suppress(OSError):
                if folder.name not in known and folder.stat().st_mtime < oldest:
                    shutil.rmtree(folder, ignore_errors=True)

    def _expire(self) -> None:
        for job in self._records.ended_before(time.time() - self._settings.job_expiry_seconds):
            self._drop(job.id)

    # --- the work -------------------------------------------------------------------------

    async def _find(self, job_id: str) -> Job | None:
        if job_id in self._dropped:
            return None
        return self._unsaved.get(job_id) or await self._do(lambda: self._records.get(job_id))

    async def _work(self, run: RunJob) -> None:
        while True:
            self._new.clear()
            job = await self._taken()
            if job is not None:
                await self._run(job, run)
                continue
            # Another worker's jobs are found by looking.
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._new.wait()

    async def _taken(self) -> Job | None:
        try:
            return await self._do(lambda: self._records.take(self._locks.name))
        except sqlite3.Error as error:
            _log.error("jobs_unreadable", error=str(error))
            return None

    async def _run(self, job: Job, run: RunJob) -> None:
        task = asyncio.ensure_future(run(job))
        self._tasks[job.id] = task
        try:
            await asyncio.wait([task])
            ended = _outcome(job, task)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            stopped = msgspec.structs.replace(job, state="interrupted")
            ended = stopped if task.cancelled() else _outcome(job, task)
            raise
        finally:
            await self._do(lambda: self._end(ended))
            del self._tasks[job.id]

    async def _tend(self) -> None:
        pause_s = min(_POLL_SECONDS, self._settings.job_expiry_seconds / 2)
        while True:
            await asyncio.sleep(pause_s)
            try:
                await self._do(self._tend_once)
            except (sqlite3.Error, OSError) as error:
                _log.error("jobs_not_tended", error=str(error))

    def _tend_once(self) -> None:
        for job in list(self._unsaved.values()):
            self._end(job)
        for job_id in list(self._dropped):
            self._drop(job_id)
        self._recover()
        self._expire()
        self._ballast.restore(self._settings.job_disk_reserve_bytes)


def _outcome(job: Job, task: asyncio.Task[Job]) -> Job:
    if task.cancelled():
        return msgspec.structs.replace(job, state="cancelled", ended=time.time())
    if error := task.exception():
        _log.error("job_failed", job=job.id, error=repr(error), exc_info=error)
        return msgspec.structs.replace(
            job,
            state="failed",
            ended=time.time(),
            error_code=ProblemCode.INTERNAL_ERROR.value,
            error="a fault of the server",
        )
    return task.result()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
