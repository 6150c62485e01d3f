"""`grove bench`: what was measured, as a table, as JSON, or as a line of the history."""

from datetime import UTC, datetime
from pathlib import Path

from grove.codec.bench.history import append_line, line_of
from grove.codec.bench.run import measure
from grove.codec.bench.table import report_text
from grove.codec.bundle import load_bundle
from grove.codec.cli.report import EXIT_DONE, emit


def run_bench(
    model: str | None, seconds: float, *, with_peers: bool, as_json: bool, history: Path | None
) -> int:
    """Measure and print, and append to the history if one is named; return the exit code."""
    report = measure(load_bundle(model), seconds, with_peers=with_peers)
    if history is not None:
        append_line(history, line_of(report, datetime.now(UTC).date()))
    emit(report.model_dump_json() if as_json else report_text(report))
    return EXIT_DONE
