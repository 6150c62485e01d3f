"""The watchdog of the event loop."""

import asyncio
import threading
import time

from grove.server.engine.watchdog import LoopWatchdog, Stall


def sleep_on_the_loop() -> None:
    time.sleep(1.5)


def compute_on_the_loop() -> None:
    until_s = time.thread_time() + 1
    while time.thread_time() < until_s:
        pass


def stalls_of(culprit: object) -> tuple[list[Stall], list[float]]:
    stalls: list[Stall] = []
    lags: list[float] = []

    async def main() -> None:
        async with LoopWatchdog(lags.append, stalls.append).watching():
            await asyncio.sleep(0.3)
            if callable(culprit):
                culprit()
            await asyncio.sleep(0.3)

    asyncio.run(main())
    return stalls, lags


def test_a_stall_is_told_with_the_stack_of_the_culprit() -> None:
    stalls, lags = stalls_of(sleep_on_the_loop)
    told = [stall for stall in stalls if "sleep_on_the_loop" in str(stall.stacks["loop"])]
    assert told
    # Waiting, not working: the culprit is what it waits for.
    assert told[0].loop_cpu_seconds < told[0].seconds
    assert max(lags) > 1


def test_work_on_the_loop_shows_in_its_time() -> None:
    stalls, _ = stalls_of(compute_on_the_loop)
    told = [stall for stall in stalls if "compute_on_the_loop" in str(stall.stacks["loop"])]
    assert told
    assert told[-1].loop_cpu_seconds > 0


def test_the_thread_ends_with_the_block() -> None:
    before = set(threading.enumerate())  # servers of other tests may have theirs
    stalls_of(None)
    left = set(threading.enumerate()) - before
    assert "watchdog" not in {thread.name for thread in left}
