"""The Ray engine: shards on a cluster, as a Ray Data pipeline whose rows are shard numbers.

Workers write into the folder themselves, so it must lie on storage that all nodes share. A task
whose worker or node dies is run again; what it had finished is found by its record.
"""

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

from grove.codec.tokens.extras import ray, ray_data
from grove.codec.tokens.records import ShardRecord, TokensError
from grove.codec.tokens.shards import ShardTask, run_shard

_CONNECT_S: Final = 5


def run_ray(tasks: Sequence[ShardTask], workers: int, quiet: bool = False) -> Iterator[ShardRecord]:
    """Yield the record of every shard; joins the cluster of RAY_ADDRESS, or starts one here."""
    if not tasks:
        return
    data = ray_data()
    if not ray().is_initialized():
        _join(quiet)
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    if quiet:
        logging.getLogger("ray.data").setLevel(logging.ERROR)
    numbers = data.from_items(
        [{"task": task.model_dump_json()} for task in tasks], override_num_blocks=len(tasks)
    )
    # Ray runs a task again whose worker died, three times by default: a shard that is too much for
    # its workers must not go round for ever.
    done = numbers.map(_made, compute=data.TaskPoolStrategy(size=workers), num_cpus=1)
    for row in done.iter_rows():
        yield ShardRecord.model_validate_json(row["record"])


def _join(quiet: bool) -> None:
    """Join the cluster that RAY_ADDRESS names; else start one here, without Ray's dashboard."""
    address = os.environ.get("RAY_ADDRESS", "")
    level = logging.ERROR if quiet else logging.WARNING
    if address in ("", "local"):
        ray().init(
            address="local",
            include_dashboard=False,
            logging_level=level,
            log_to_driver=not quiet,
        )
        return
    _refuse_unreachable(address)
    ray().init(address=address, logging_level=level, log_to_driver=not quiet)


def _refuse_unreachable(address: str) -> None:
    """Refuse at once what Ray would try for minutes, deaf to signals."""
    if address == "auto":
        return
    place = urlsplit(address if "://" in address else f"//{address}")
    try:
        target = (place.hostname or "", place.port or 0)
        socket.create_connection(target, timeout=_CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise TokensError(
            f"RAY_ADDRESS is {address}, where nothing answers: {error}",
            hint="start a cluster there with ray start --head, or unset RAY_ADDRESS",
        ) from error


def _made(row: dict[str, str]) -> dict[str, str]:
    record = run_shard(ShardTask.model_validate_json(row["task"]))
    return {"record": record.model_dump_json()}
