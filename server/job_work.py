"""One job, from its input to its result."""

import time
from typing import cast

import msgspec

from codec.errors import CodecError
from server.files import Progress
from server.formats import AUDIO_MEDIA_TYPES, TOKEN_MEDIA_TYPES, AudioFormat, TokenFormat
from server.jobs import INPUT, RESULT, Job, JobStore
from server.models import Model
from server.problems import Problem, problem_of
from server.transfer import Machinery, Transfer, open_transfer

_PROGRESS_SECONDS = 0.5


async def perform(
    job: Job,
    model: Model,
    store: JobStore,
    machinery: Machinery,
    max_seconds: float,
) -> Job:
    """Return the job as it ended. The result appears under its name once it is whole."""
    transfer = transfer_of(job, model, max_seconds)
    folder = store.folder(job.id)
    part = folder / f"{RESULT}.part"
    noted_s = time.monotonic()
    progress = Progress()
    try:
        with part.open("wb") as file:
            async with open_transfer(
                transfer, folder / INPUT, machinery, model, progress
            ) as opened:
                async for chunk in opened.chunks:
                    file.write(chunk)
                    if time.monotonic() - noted_s > _PROGRESS_SECONDS:
                        noted_s = time.monotonic()
                        job = store.progress(job, progress.seconds)
    except CodecError as error:
        part.unlink(missing_ok=True)
        return failed(job, problem_of(error))
    part.replace(folder / RESULT)
    return msgspec.structs.replace(
        job,
        state="done",
        ended=time.time(),
        seconds_done=round(progress.seconds, 3),
        result_bytes=(folder / RESULT).stat().st_size,
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
    is_encode = job.operation == "encode"
    assert job.format in (TOKEN_MEDIA_TYPES if is_encode else AUDIO_MEDIA_TYPES)
    return Transfer(
        operation=job.operation,
        model=model,
        levels=job.levels,
        audio_format="wav" if is_encode else cast(AudioFormat, job.format),
        token_format=cast(TokenFormat, job.format) if is_encode else "grv",
        sample_rate_hz=job.sample_rate_hz,
        max_seconds=max_seconds,
    )
