"""One job, from its input to its result."""

import asyncio
import errno
import time
from typing import assert_never

import msgspec

from grove.codec.atomic import put_in_place
from grove.codec.errors import CodecError
from grove.server.files.codec import Progress
from grove.server.files.formats import (
    AUDIO_MEDIA_TYPES,
    TOKEN_MEDIA_TYPES,
    AudioFormat,
)
from grove.server.files.transfer import (
    Decode,
    Encode,
    Machinery,
    Transcode,
    Transfer,
    open_transfer,
)
from grove.server.jobs.records import Job
from grove.server.jobs.store import INPUT, PART, RESULT, JobStore
from grove.server.models import Model
from grove.server.problems import Problem, ProblemCode, problem_of

_PROGRESS_SECONDS = 0.5
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


async def perform(
    job: Job,
    model: Model,
    store: JobStore,
    machinery: Machinery,
    max_seconds: float,
) -> Job:
    """Return the job as it ended. The result appears under its name once it is whole."""
    folder = store.folder(job.id)
    part = folder / PART
    try:
        job = await _made(job, transfer_of(job, model, max_seconds), store, machinery)
        # What is called done must be there after a power cut.
        await asyncio.to_thread(put_in_place, part, folder / RESULT)
    except CodecError as error:
        part.unlink(missing_ok=True)
        return failed(job, problem_of(error))
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        part.unlink(missing_ok=True)
        return failed(job, Problem(ProblemCode.INSUFFICIENT_STORAGE, "the disk for jobs is full"))
    return msgspec.structs.replace(
        job, state="done", ended=time.time(), result_bytes=(folder / RESULT).stat().st_size
    )


async def _made(job: Job, transfer: Transfer, store: JobStore, machinery: Machinery) -> Job:
    """Write the result, noting progress now and then; return the job with what is known of it."""
    folder = store.folder(job.id)
    progress = Progress()
    noted_s = 0.0
    async with open_transfer(
        transfer, folder / INPUT, machinery, transfer.model, progress
    ) as opened:
        job = msgspec.structs.replace(job, damage=opened.damage)
        input_bytes = (folder / INPUT).stat().st_size
        with (folder / PART).open("wb") as file:
            async for chunk in opened.chunks:
                file.write(chunk)
                if time.monotonic() - noted_s > _PROGRESS_SECONDS:
                    noted_s = time.monotonic()
                    job = _at(job, progress)
                    await store.progress(job, input_bytes + file.tell())
    return _at(job, progress)


def _at(job: Job, progress: Progress) -> Job:
    total = progress.total_seconds
    return msgspec.structs.replace(
        job,
        seconds_done=round(progress.seconds, 3),
        seconds_total=None if total is None else round(total, 3),
    )


def failed(job: Job, problem: Problem) -> Job:
    return msgspec.structs.replace(
        job,
        state="failed",
        ended=time.time(),
        error_code=problem.code.value,
        error=str(problem),
    )


def transfer_of(job: Job, model: Model, max_seconds: float) -> Transfer:
    """Return what a job on disk asks for."""
    match job.operation:
        case "encode":
            assert job.format in TOKEN_MEDIA_TYPES
            return Encode(model, max_seconds, job.levels, job.format)
        case "transcode":
            into = _audio_format(job)
            return Transcode(model, max_seconds, job.levels, into, job.sample_rate_hz)
        case "decode":
            into, conceals = _audio_format(job), job.conceals_damage
            return Decode(model, max_seconds, into, job.sample_rate_hz, conceals)
        case _:
            assert_never(job.operation)


def _audio_format(job: Job) -> AudioFormat:
    assert job.format in AUDIO_MEDIA_TYPES
    return job.format
