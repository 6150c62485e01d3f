"""Shards on a Ray cluster, as a Ray Data pipeline whose rows are shard numbers.

Workers write into the folder themselves, so it must lie on storage that all nodes share. A task
whose worker or node dies is run again; what it had finished is found by its record.
"""

from collections.abc import Iterator, Sequence

from codec.tokens.extras import ray_data
from codec.tokens.records import ShardRecord
from codec.tokens.shards import ShardTask, run_shard


def run_ray(tasks: Sequence[ShardTask], workers: int) -> Iterator[ShardRecord]:
    """Yield the record of every shard; joins the cluster of RAY_ADDRESS, or starts one here."""
    if not tasks:
        return
    data = ray_data()
    data.DataContext.get_current().enable_progress_bars = False
    numbers = data.from_items(
        [{"task": task.model_dump_json()} for task in tasks], override_num_blocks=len(tasks)
    )
    # Ray runs a task again whose worker died, three times by default: a shard that is too much for
    # its workers must not go round for ever.
    done = numbers.map(_made, compute=data.TaskPoolStrategy(size=workers), num_cpus=1)
    for row in done.iter_rows():
        yield ShardRecord.model_validate_json(row["record"])


def _made(row: dict[str, str]) -> dict[str, str]:
    record = run_shard(ShardTask.model_validate_json(row["task"]))
    return {"record": record.model_dump_json()}
