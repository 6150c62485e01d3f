"""`grove bench`: what was measured, as a table or as JSON."""

from grove.codec.bench.run import measure
from grove.codec.bench.table import report_text
from grove.codec.bundle import load_bundle
from grove.codec.cli.report import EXIT_DONE, emit


def run_bench(model: str | None, seconds: float, *, with_peers: bool, as_json: bool) -> int:
    """Measure and print; return the exit code."""
    report = measure(load_bundle(model), seconds, with_peers=with_peers)
    emit(report.model_dump_json() if as_json else report_text(report))
    return EXIT_DONE
