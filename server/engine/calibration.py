"""How many live sessions fit: measured at start, on this machine, with this model."""

import time

import numpy as np

from grove.server.engine.batch import Batcher, Step
from grove.server.engine.work import Audio
from grove.server.settings import Settings

_REPEATS = 7


def measure_slots(batcher: Batcher, settings: Settings) -> int:
    """Return the largest number of duplex sessions whose work fits the share of time allowed."""
    spec = batcher.codec.spec
    hop_s = spec.hop_samples / spec.sample_rate_hz
    budget_s = settings.utilization * hop_s
    overhead_s = settings.packet_overhead_us * 1e-6
    fitting, size = 1, 1
    while fitting < settings.max_slots and size <= settings.max_batch:
        # A full engine makes one batch per hop, and each stream sends and gets one packet.
        if _batch_seconds(batcher, size) + size * overhead_s > budget_s:
            break
        fitting = size
        # Steps of an eighth: near enough, and a dozen measurements cover a thousand streams.
        size += max(1, size // 8)
    return min(fitting, settings.max_slots)


def _batch_seconds(batcher: Batcher, streams: int) -> float:
    """Return how long a duplex batch of `streams` frames takes when nothing else disturbs it."""
    spec = batcher.codec.spec
    noise = np.random.default_rng(0).normal(0, 0.1, (streams, spec.hop_samples))
    levels = np.full(1, spec.levels, np.int64)
    steps = [
        Step(batcher.start(), Audio(row.astype(np.float32)[None], levels, 0.0), to_audio=True)
        for row in noise
    ]
    batcher.run(steps)
    times_s = []
    for _ in range(_REPEATS):
        start_s = time.perf_counter()
        batcher.run(steps)
        times_s.append(time.perf_counter() - start_s)
    # The least: noise only adds, and neighbours that come and go must not decide for all day.
    return min(times_s)
