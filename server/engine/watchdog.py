"""Watches the event loop: how late it is, and who keeps it when it stands still."""

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog

_log = structlog.get_logger("watchdog")
_BEAT_SECONDS: Final = 0.05
_STALL_SECONDS: Final = 0.25
_MOST_LINES: Final = 12


@dataclass(frozen=True)
class Stall:
    """The loop does not answer: for how long, what it did meanwhile, and where it is."""

    seconds: float
    # Far less than the time passed means that the loop waits: for the interpreter, or for a core.
    loop_cpu_seconds: float
    process_cpu_seconds: float
    stacks: dict[str, list[str]]


class LoopWatchdog:
    """A beat on the loop, and a thread that misses it."""

    def __init__(
        self, observe: Callable[[float], None], report: Callable[[Stall], None] | None = None
    ) -> None:
        self._observe = observe
        self._report = report or _logged
        self._loop_thread = 0
        self._beat_s = 0.0
        self._loop_cpu_s = 0.0
        self._process_cpu_s = 0.0
        self._stopping = threading.Event()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch the running loop as long as the block lasts."""
        self._loop_thread = threading.get_ident()
        self._take_beat()
        beat = asyncio.create_task(self._beat())
        thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)
            thread.join()

    async def _beat(self) -> None:
        while True:
            due_s = time.monotonic() + _BEAT_SECONDS
            await asyncio.sleep(_BEAT_SECONDS)
            self._observe(max(0.0, time.monotonic() - due_s))
            self._take_beat()

    def _take_beat(self) -> None:
        self._loop_cpu_s = time.thread_time()
        self._process_cpu_s = time.process_time()
        self._beat_s = time.monotonic()

    def _watch(self) -> None:
        limit_s = _STALL_SECONDS
        reported_beat_s = 0.0
        while not self._stopping.wait(_BEAT_SECONDS):
            beat_s = self._beat_s
            if beat_s != reported_beat_s:
                limit_s = _STALL_SECONDS
            stalled_s = time.monotonic() - beat_s - _BEAT_SECONDS
            if stalled_s > limit_s:
                # Again only when it has lasted four times as long.
                reported_beat_s, limit_s = beat_s, 4 * stalled_s
                self._report(self._stall(stalled_s))

    def _stall(self, seconds: float) -> Stall:
        clock = time.pthread_getcpuclockid(self._loop_thread)
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        own = threading.get_ident()
        stacks = {
            "loop" if ident == self._loop_thread else names.get(ident, str(ident)): _lines(frame)
            for ident, frame in sys._current_frames().items()
            if ident != own
        }
        return Stall(
            round(seconds, 3),
            round(time.clock_gettime(clock) - self._loop_cpu_s, 3),
            round(time.process_time() - self._process_cpu_s, 3),
            stacks,
        )


def _lines(frame: object) -> list[str]:
    """Return where a thread is, the innermost call last."""
    summary = traceback.extract_stack(frame)  # type: ignore[arg-type]
    return [f"{one.filename}:{one.lineno} {one.name}" for one in summary[-_MOST_LINES:]]


def _logged(stall: Stall) -> None:
    _log.warning(
        "loop_stalled",
        seconds=stall.seconds,
        loop_cpu_seconds=stall.loop_cpu_seconds,
        process_cpu_seconds=stall.process_cpu_seconds,
        stacks=stall.stacks,
    )
