"""The scoring of clips, in this process or in others: light to import, for those others' sake."""

import logging
import multiprocessing
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import NamedTuple, assert_never

from grove.codec.arrays import F32
from grove.training.evaluation.clips import Clip
from grove.training.evaluation.metrics import score
from grove.training.evaluation.peer_scores import PeerCache, PeerJob, peer_score
from grove.training.evaluation.results import ClipScore, Condition

log = logging.getLogger(__name__)

_LOG_EVERY_JOBS = 200
_JOBS_AHEAD_PER_WORKER = 8


class DecodedJob(NamedTuple):
    """A clip that our codec has decoded, to be scored."""

    clip: Clip
    condition: Condition
    kbps: float
    lost_share: float
    reference: F32
    decoded: F32


Job = DecodedJob | PeerJob


# --- doing it ---------------------------------------------------------------------------


def run_jobs(jobs: Iterator[Job], cache: PeerCache, workers: int) -> list[ClipScore]:
    """Return the jobs' scores in their order, made in this process or by `workers` others."""
    done: list[ClipScore] = []
    for one in _in_process(jobs, cache) if workers == 1 else _in_pool(jobs, cache, workers):
        done.append(one)
        if len(done) % _LOG_EVERY_JOBS == 0:
            log.info("scored %d clips and conditions, now at %s", len(done), one.file)
    return done


def _in_process(jobs: Iterator[Job], cache: PeerCache) -> Iterator[ClipScore]:
    for job in jobs:
        yield _run_job(job, cache)


def _in_pool(jobs: Iterator[Job], cache: PeerCache, workers: int) -> Iterator[ClipScore]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        # Each job holds a decoded clip: all of them at once would not fit in memory.
        waiting: deque[Future[ClipScore]] = deque()
        for job in jobs:
            waiting.append(pool.submit(_run_job, job, cache))
            if len(waiting) >= workers * _JOBS_AHEAD_PER_WORKER:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _run_job(job: Job, cache: PeerCache) -> ClipScore:
    match job:
        case PeerJob():
            return peer_score(job, cache)
        case DecodedJob():
            return ClipScore(
                file=job.clip.file,
                kind=job.clip.kind,
                native_rate_hz=job.clip.native_rate_hz,
                condition=job.condition,
                kbps=job.kbps,
                lost_share=job.lost_share,
                scores=score(job.reference, job.decoded, job.clip.kind),
            )
        case _:
            assert_never(job)
