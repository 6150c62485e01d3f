"""The database of jobs, which all workers share."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec
import structlog

from grove.server.problems import Problem, ProblemCode

_log = structlog.get_logger("jobs")

JobState = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
ENDED: Final = ("done", "failed", "cancelled")
# A job that takes its worker down with it must not do so for ever.
MAX_ATTEMPTS: Final = 3

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, caller TEXT NOT NULL, state TEXT NOT NULL, worker TEXT,
    created REAL NOT NULL, ended REAL, bytes INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    cancel INTEGER NOT NULL DEFAULT 0, job BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS by_caller ON jobs (caller);
CREATE INDEX IF NOT EXISTS by_state ON jobs (state, created);
CREATE TABLE IF NOT EXISTS keys (
    digest TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, job_id TEXT NOT NULL
);
"""
# The state of a job whose input is still on its way; no caller sees it.
_RECEIVING: Final = "receiving"


class Job(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a job; seconds are of audio."""

    id: str
    caller: str
    operation: Literal["encode", "decode", "transcode"]
    model_sha256: str
    levels: int
    format: str
    sample_rate_hz: int
    media_type: str
    created: float
    conceals_damage: bool = False
    state: JobState = "queued"
    seconds_done: float = 0.0
    seconds_total: float | None = None
    ended: float | None = None
    result_bytes: int | None = None
    error_code: str | None = None
    error: str | None = None
    damage: tuple[str, ...] = ()


class Quota(msgspec.Struct, frozen=True):
    """What jobs may take, on the disk and in number."""

    bytes_in_all: int
    bytes_per_caller: int
    jobs_per_caller: int


class JobRecords:
    """Called from one thread at a time."""

    def __init__(self, path: Path, quota: Quota) -> None:
        self._quota = quota
        self._base = self._opened(path)

    def close(self) -> None:
        self._base.close()

    # --- making jobs ----------------------------------------------------------------------

    def reserve(self, job_id: str, caller: str, worker: str, size_bytes: int) -> None:
        """Take room for a job whose input is about to come, or refuse."""
        with self._change():
            self._check_room(caller, size_bytes)
            count = self._one("SELECT count(*) FROM jobs WHERE caller = ?", caller)
            if count >= self._quota.jobs_per_caller:
                raise Problem(
                    ProblemCode.TOO_MANY_REQUESTS,
                    f"this caller has {count} jobs already",
                    hint="delete jobs that are done with",
                    retry_after_seconds=60,
                )
            self._base.execute(
                "INSERT INTO jobs (id, caller, state, worker, created, bytes, job)"
                " VALUES (?, ?, ?, ?, ?, ?, '')",
                (job_id, caller, _RECEIVING, worker, time.time(), size_bytes),
            )

    def queue(self, job: Job, size_bytes: int, key: tuple[str, str] | None) -> str:
        """Queue a job whose input came; return its id, or that of an earlier one by the same key.

        `key` is an idempotency key's digest, and what the request was.
        """
        with self._change():
            if key is not None:
                bound = self._bound(*key)
                if bound is not None:
                    self._base.execute("DELETE FROM jobs WHERE id = ?", (job.id,))
                    return bound
                self._base.execute("INSERT INTO keys VALUES (?, ?, ?)", (*key, job.id))
            self._base.execute(
                "UPDATE jobs SET state = 'queued', worker = NULL, bytes = ?, job = ? WHERE id = ?",
                (size_bytes, msgspec.json.encode(job), job.id),
            )
        return job.id

    def grow(self, job: Job, size_bytes: int) -> None:
        """Count what a job has on the disk by now, or refuse it more."""
        with self._change():
            had = self._one("SELECT bytes FROM jobs WHERE id = ?", job.id) or 0
            if size_bytes > had:
                self._check_room(job.caller, size_bytes - had)
            self._base.execute(
                "UPDATE jobs SET bytes = ?, job = ? WHERE id = ?",
                (size_bytes, msgspec.json.encode(job), job.id),
            )

    # --- asking ---------------------------------------------------------------------------

    def get(self, job_id: str) -> Job | None:
        rows = self._jobs("id = ?", job_id)
        return rows[0] if rows else None

    def listed(self, caller: str) -> list[Job]:
        return self._jobs("caller = ? ORDER BY created", caller)

    def ended_before(self, limit_s: float) -> list[Job]:
        return self._jobs("ended < ?", limit_s)

    def is_cancelled(self, job_id: str) -> bool:
        return bool(self._one("SELECT cancel FROM jobs WHERE id = ?", job_id))

    def used_bytes(self) -> int:
        return int(self._one("SELECT coalesce(sum(bytes), 0) FROM jobs"))

    def count(self, state: JobState) -> int:
        return int(self._one("SELECT count(*) FROM jobs WHERE state = ?", state))

    def ids(self) -> set[str]:
        return {row[0] for row in self._base.execute("SELECT id FROM jobs")}

    # --- the work -------------------------------------------------------------------------

    def take(self, worker: str) -> Job | None:
        """Return the job that has waited longest, which `worker` runs from now on."""
        with self._change():
            waiting = self._jobs("state = 'queued' ORDER BY created LIMIT 1")
            if not waiting:
                return None
            job = msgspec.structs.replace(waiting[0], state="running", seconds_done=0.0)
            self._write(job, worker)
            self._base.execute("UPDATE jobs SET attempts = attempts + 1 WHERE id = ?", (job.id,))
            return job

    def save(self, job: Job, size_bytes: int | None = None) -> None:
        """Note how a job stands. One that ended, or waits again, is nobody's."""
        with self._change():
            self._write(job, None)
            if size_bytes is not None:
                self._base.execute("UPDATE jobs SET bytes = ? WHERE id = ?", (size_bytes, job.id))
            if job.state == "interrupted":
                # Stopped on purpose: this was no attempt that failed.
                self._base.execute(
                    "UPDATE jobs SET attempts = max(0, attempts - 1) WHERE id = ?", (job.id,)
                )

    def cancel(self, job_id: str) -> Job | None:
        """Cancel a job: at once where it waits, else its worker sees it. Return how it stands."""
        with self._change():
            self._base.execute("UPDATE jobs SET cancel = 1 WHERE id = ?", (job_id,))
            job = self.get(job_id)
            if job is not None and job.state in ("queued", "interrupted"):
                job = msgspec.structs.replace(job, state="cancelled", ended=time.time())
                self._write(job, None)
        return job

    def drop(self, job_id: str) -> None:
        with self._change():
            self._base.execute("DELETE FROM keys WHERE job_id = ?", (job_id,))
            self._base.execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    def workers(self) -> set[str]:
        """Return the workers that hold jobs."""
        rows = self._base.execute("SELECT DISTINCT worker FROM jobs WHERE worker IS NOT NULL")
        return {row[0] for row in rows}

    def requeue(self, dead_workers: set[str]) -> None:
        """Let what dead workers were at, and what was interrupted, run again."""
        with self._change():
            for worker in dead_workers:
                self._base.execute(
                    "DELETE FROM jobs WHERE worker = ? AND state = ?", (worker, _RECEIVING)
                )
                for job in self._jobs("worker = ?", worker):
                    self._requeue(job)
            for job in self._jobs("state = 'interrupted'"):
                self._requeue(job)

    def _requeue(self, job: Job) -> None:
        attempts = self._one("SELECT attempts FROM jobs WHERE id = ?", job.id)
        if self.is_cancelled(job.id):
            job = msgspec.structs.replace(job, state="cancelled", ended=time.time())
        elif attempts < MAX_ATTEMPTS:
            job = msgspec.structs.replace(job, state="queued")
        else:
            job = msgspec.structs.replace(
                job,
                state="failed",
                ended=time.time(),
                error_code=ProblemCode.INTERNAL_ERROR.value,
                error=f"the server died under it {attempts} times",
            )
        self._write(job, None)

    # --- the database ---------------------------------------------------------------------

    def _write(self, job: Job, worker: str | None) -> None:
        self._base.execute(
            "UPDATE jobs SET state = ?, worker = ?, ended = ?, job = ? WHERE id = ?",
            (job.state, worker, job.ended, msgspec.json.encode(job), job.id),
        )

    def _bound(self, digest: str, fingerprint: str) -> str | None:
        """Return the job that an idempotency key stands for already."""
        row = self._base.execute(
            "SELECT fingerprint, job_id FROM keys WHERE digest = ?", (digest,)
        ).fetchone()
        if row is not None and row[0] != fingerprint:
            raise Problem(
                ProblemCode.INVALID_PARAMETER,
                "this Idempotency-Key was used for another request",
                pointer="#/header/Idempotency-Key",
            )
        return None if row is None else str(row[1])

    def _check_room(self, caller: str, size_bytes: int) -> None:
        mine = self._one("SELECT coalesce(sum(bytes), 0) FROM jobs WHERE caller = ?", caller)
        left = min(
            self._quota.bytes_per_caller - mine, self._quota.bytes_in_all - self.used_bytes()
        )
        if size_bytes > left:
            raise no_room(size_bytes, max(0, left))

    def _jobs(self, condition: str, *values: object) -> list[Job]:
        """Return jobs; one whose record is damaged is left out, and hides no other."""
        found = []
        query = f"SELECT id, job FROM jobs WHERE state != '{_RECEIVING}' AND {condition}"
        for job_id, data in self._base.execute(query, values):
            try:
                found.append(msgspec.json.decode(data, type=Job))
            except msgspec.DecodeError as error:
                _log.error("job_damaged", job=job_id, error=str(error))
        return found

    def _one(self, query: str, *values: object) -> int:
        row = self._base.execute(query, values).fetchone()
        return 0 if row is None else int(row[0])

    @contextmanager
    def _change(self) -> Iterator[None]:
        """All or nothing, and on the disk when the block is left."""
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._base.execute("COMMIT")
        except BaseException:
            if self._base.in_transaction:
                self._base.execute("ROLLBACK")
            raise

    def _opened(self, path: Path) -> sqlite3.Connection:
        try:
            return _connected(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            # Jobs are lost then, but the service is not.
            aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
            path.replace(aside)
            _log.error("jobs_damaged", error=str(error), kept=aside.name)
            return _connected(path)


def no_room(size_bytes: int, left_bytes: int) -> Problem:
    return Problem(
        ProblemCode.INSUFFICIENT_STORAGE,
        f"{size_bytes} bytes more do not fit, {left_bytes} are left for jobs",
        hint="delete jobs that are done with",
        left_bytes=left_bytes,
    )


def _connected(path: Path) -> sqlite3.Connection:
    base = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    try:
        base.execute("PRAGMA journal_mode = WAL")
        # What a caller was told must be there after a power cut.
        base.execute("PRAGMA synchronous = FULL")
        base.executescript(_SCHEMA)
    except BaseException:
        base.close()  # or its descriptor stays open as long as the error is remembered
        raise
    return base
