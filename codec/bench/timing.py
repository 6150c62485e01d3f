"""Clocks and meters: medians after a warm-up, percentiles, memory."""

import resource
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from grove.codec.bench.figures import Percentiles

REPEATS = 5
_COPY_BYTES = 128 << 20


def cpu_seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the median CPU time of `work` in this process, after one run to warm up."""
    return _median(work, repeats, time.process_time)


def wall_seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the median time of `work` by the clock, after one run to warm up."""
    return _median(work, repeats, time.perf_counter)


def percentiles(seconds: Sequence[float]) -> Percentiles:
    p50, p99 = np.percentile(seconds, (50, 99)) * 1000
    return Percentiles(p50_ms=float(p50), p99_ms=float(p99))


def peak_rss_bytes() -> int:
    """Return the most memory that this process had resident."""
    try:
        # Linux carries ru_maxrss over from the process that forked us; VmHWM is our own.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def read_rate(array_bytes: int) -> float:
    """Return how many bytes a second one thread reads from an array, over and over."""
    array = np.ones(array_bytes // 4, np.float32)
    return array.nbytes / wall_seconds(lambda: np.dot(array, array), 4 * REPEATS)


def copy_rate() -> float:
    """Return how many bytes a second one thread copies."""
    source = np.ones(_COPY_BYTES // 4, np.float32)
    target = np.zeros_like(source)
    return source.nbytes / wall_seconds(lambda: np.copyto(target, source))


def _median(work: Callable[[], object], repeats: int, clock: Callable[[], float]) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = clock()
        work()
        times.append(clock() - start)
    return statistics.median(times)
