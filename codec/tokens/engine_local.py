"""The local engine: shards in this process, or in a pool of processes on this machine."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Final

from grove.codec.tokens.records import Row, ShardRecord, TokensError
from grove.codec.tokens.shards import ShardTask, run_shard

_MOST_BREAKS: Final = 3
"""A worker may be killed for memory now and then; one that dies again and again is reported."""


def run_local(
    tasks: Sequence[ShardTask], workers: int, watch: Callable[[Row], None]
) -> Iterator[ShardRecord]:
    """Yield the record of every shard as it is finished."""
    if workers == 1:
        for task in tasks:
            yield run_shard(task, watch)
        return
    left = {task.number: task for task in tasks}
    breaks = 0
    while left:
        before = len(left)
        try:
            for record in _pooled(list(left.values()), workers):
                del left[record.number]
                yield record
        except BrokenProcessPool as error:
            breaks = breaks + 1 if len(left) == before else 1
            if breaks > _MOST_BREAKS:
                raise TokensError(
                    f"a worker died {breaks} times in a row, the next shard is {min(left)}",
                    hint="run with --workers 1 to see what it dies of, then go on with --resume",
                ) from error


def _pooled(tasks: Sequence[ShardTask], workers: int) -> Iterator[ShardRecord]:
    # Spawned, since a fork copies onnxruntime's locks in whatever state its threads left them.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        waiting = iter(tasks)
        running: set[Future[ShardRecord]] = set()
        try:
            while True:
                while len(running) < 2 * workers and (task := next(waiting, None)) is not None:
                    running.add(pool.submit(run_shard, task))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    """End this worker where its parent is killed: the pool itself would leave it waiting."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "runs in workers only"

    def wait_for_end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait_for_end, daemon=True).start()
