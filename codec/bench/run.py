"""Runs the whole benchmark: each system in fresh processes, one after the other."""

import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from codec.bench import commands, neural
from codec.bench.figures import (
    AbsentPeer,
    BenchReport,
    ColdStart,
    GroveFigures,
    Machine,
    PeerFigures,
)
from codec.bench.history import append_line, line_of
from codec.bench.table import report_text
from codec.bundle import Bundle, load_bundle
from codec.cli_report import EXIT_DONE, emit, log
from codec.errors import CodecError

_COLD_STARTS = 5
_TIMEOUT_S = 900
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_NEURAL_NEEDS = ("torch", "transformers")


class BenchError(CodecError):
    """A measurement that did not come to its end."""


def run_bench(
    model: str | None, seconds: float, *, with_peers: bool, as_json: bool, history: Path | None
) -> int:
    """Measure and print, and append to the history if one is named; return the exit code."""
    report = measure(load_bundle(model), seconds, with_peers=with_peers)
    if history is not None:
        append_line(history, line_of(report, datetime.now(UTC).date()))
    emit(report.model_dump_json() if as_json else report_text(report))
    return EXIT_DONE


def measure(bundle: Bundle, seconds: float, *, with_peers: bool) -> BenchReport:
    """Return the figures of our codec, and of every peer found."""
    _say(f"measuring {bundle.spec.name}")
    grove = GroveFigures.model_validate_json(
        _output_of("codec.bench.grove", str(bundle.path), repr(seconds))
    )
    cold_start = _cold_start(bundle)
    peers = _peers(seconds) if with_peers else []
    return BenchReport(
        machine=_machine(),
        model_sha256=bundle.spec.model_sha256,
        seconds=seconds,
        grove=grove,
        cold_start=cold_start,
        peers=tuple(peer for peer in peers if isinstance(peer, PeerFigures)),
        absent_peers=tuple(peer for peer in peers if isinstance(peer, AbsentPeer)),
    )


def _cold_start(bundle: Bundle) -> ColdStart:
    """Return the medians over fresh processes; the files are in the system's cache by then."""
    times, peaks = [], []
    for _ in range(_COLD_STARTS):
        started_s = time.monotonic()
        done_s, peak = _output_of("codec.bench.cold_start", str(bundle.path)).split()
        times.append(float(done_s) - started_s)
        peaks.append(int(peak))
    return ColdStart(
        seconds=statistics.median(times), peak_rss_bytes=round(statistics.median(peaks))
    )


def _peers(seconds: float) -> list[PeerFigures | AbsentPeer]:
    found: list[PeerFigures | AbsentPeer] = []
    for name in neural.NAMES:
        found.append(_neural_peer(name, seconds))
    for peer in commands.COMMAND_PEERS:
        _say(f"measuring {peer.system}")
        found.append(commands.measure(peer, seconds))
    return found


def _neural_peer(name: str, seconds: float) -> PeerFigures | AbsentPeer:
    missing = [package for package in _NEURAL_NEEDS if find_spec(package) is None]
    if missing:
        reason = f"{' and '.join(missing)} not installed; pip install 'grove-codec[bench]'"
        return AbsentPeer(system=name, reason=reason)
    _say(f"measuring {name}")
    try:
        output = _output_of("codec.bench.neural", name, repr(seconds), repr(time.monotonic()))
    except BenchError as error:
        return AbsentPeer(system=name, reason=str(error))
    return PeerFigures.model_validate_json(output)


def _output_of(module: str, *arguments: str) -> str:
    """Return what a fresh process prints; it has one thread for everything."""
    environment = os.environ | dict.fromkeys(_ONE_THREAD, "1")
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{module} ran for more than {_TIMEOUT_S} s") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["nothing said"])[-1]
        raise BenchError(f"{module} ended with status {done.returncode}, expected 0: {last}")
    return done.stdout


def _machine() -> Machine:
    return Machine(
        cpu=_cpu_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else _all_cores(),
        python=platform.python_version(),
        onnxruntime=version("onnxruntime"),
        numpy=version("numpy"),
    )


def _all_cores() -> int:
    return os.cpu_count() or 1


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _say(text: str) -> None:
    if sys.stderr.isatty():
        log(f"{text} …")
