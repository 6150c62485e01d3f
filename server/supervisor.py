"""Supervises workers: started together, replaced when they die, drained together."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType

import structlog
from prometheus_client import multiprocess

_log = structlog.get_logger("supervisor")
_MIN_LIFE_SECONDS = 5.0
_MAX_EARLY_DEATHS = 5


def supervise(workers: int, run: Callable[..., int], args: tuple[object, ...]) -> int:
    """Keep `workers` processes running until a signal; return the exit status."""
    return _Supervisor(workers, run, args).run()


class _Supervisor:
    def __init__(self, workers: int, run: Callable[..., int], args: tuple[object, ...]) -> None:
        self._run_worker = run
        self._args = args
        self._context = multiprocessing.get_context("spawn")
        self._workers = workers
        self._processes: dict[int, BaseProcess] = {}
        self._started_s: dict[int, float] = {}
        self._early_deaths = 0
        self._stopping = False

    def run(self) -> int:
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._stop)
        signal.signal(signal.SIGHUP, self._pass_on)
        for _ in range(self._workers):
            self._start()
        while self._processes:
            wait([process.sentinel for process in self._processes.values()], timeout=0.2)
            for process in [one for one in self._processes.values() if not one.is_alive()]:
                self._bury(process)
        return 0 if self._early_deaths < _MAX_EARLY_DEATHS else 1

    def _start(self) -> None:
        process = self._context.Process(target=_exit_with, args=(self._run_worker, self._args))
        process.start()
        assert process.pid is not None
        self._processes[process.pid] = process
        self._started_s[process.pid] = time.monotonic()

    def _bury(self, process: BaseProcess) -> None:
        """Take note of a death, and start another worker unless we are going down."""
        assert process.pid is not None
        del self._processes[process.pid]
        life_s = time.monotonic() - self._started_s.pop(process.pid)
        multiprocess.mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
        if self._stopping:
            return
        _log.warning("worker_died", pid=process.pid, exitcode=process.exitcode, life_s=life_s)
        # A worker that cannot start would otherwise be started for ever.
        self._early_deaths = self._early_deaths + 1 if life_s < _MIN_LIFE_SECONDS else 0
        if self._early_deaths >= _MAX_EARLY_DEATHS:
            _log.error("workers_do_not_start", deaths=self._early_deaths)
            self._stop(signal.SIGTERM, None)
            return
        self._start()

    def _pass_on(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        for pid in self._processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signum)

    def _stop(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a handler's
        self._stopping = True
        for process in self._processes.values():
            process.terminate()


def _exit_with(run: Callable[..., int], args: tuple[object, ...]) -> None:
    raise SystemExit(run(*args))
