"""A benchmark's figures as tables of plain text, which are Markdown too."""

from collections.abc import Sequence

from grove.codec.bench.figures import (
    BenchReport,
    ColdStart,
    GroveFigures,
    PeerFigures,
    Speed,
    StepTimes,
)

_NONE = "-"
_LEFT_COLUMNS = 1


def report_text(report: BenchReport) -> str:
    """Return all tables and what their words mean."""
    machine = report.machine
    head = (
        f"{machine.cpu}, {machine.cores} cores to use; Python {machine.python}, "
        f"ONNX Runtime {machine.onnxruntime}; 1 thread; {report.seconds:g} s of audio; "
        f"model {report.model_sha256[:12]}"
    )
    parts = [
        head,
        _systems(report),
        _calls(report.grove),
        _batches(report.grove),
        _bound(report.grove),
        *(f"Not measured: {peer.system} ({peer.reason})." for peer in report.absent_peers),
    ]
    return "\n\n".join(parts)


def _systems(report: BenchReport) -> str:
    ours = report.grove
    rows = [
        (
            *_row(ours.system, ours.whole_file, ours.whole_file, ours.steps, report.cold_start),
            _mega(ours.peak_rss_bytes),
        )
    ]
    rows += [_peer_row(peer, ours.whole_file) for peer in report.peers]
    header = (
        "system",
        "RTF encode",
        "decode",
        "time / Grove's",
        "streams a core",
        "step ms",
        "encode p50/p99 ms",
        "decode p50/p99 ms",
        "both p50/p99 ms",
        "cold start s / MB",
        "peak MB",
    )
    note = (
        "RTF: CPU time ÷ audio time of a whole file. Streams a core: 1 ÷ (encode + decode RTF). "
        "Cold start: from the start of a process to the end of its first step. Peak: of the "
        "process that coded the file."
    )
    programs = [f"{peer.system}: {peer.how}." for peer in report.peers]
    return "\n".join((_table(header, rows), "", note, *programs))


def _peer_row(peer: PeerFigures, ours: Speed) -> tuple[str, ...]:
    row = _row(peer.system, peer.whole_file, ours, peer.steps, peer.cold_start)
    return (*row, _NONE if peer.peak_rss_bytes is None else _mega(peer.peak_rss_bytes))


def _row(
    system: str, speed: Speed, ours: Speed, steps: StepTimes | None, start: ColdStart | None
) -> tuple[str, ...]:
    times: tuple[str, ...] = (_NONE,) * 4
    if steps is not None:
        parts = (steps.encode, steps.decode, steps.both)
        times = (f"{steps.step_ms:g}", *(f"{p.p50_ms:.2f} / {p.p99_ms:.2f}" for p in parts))
    return (
        system,
        f"{speed.encode_rtf:.4f}",
        f"{speed.decode_rtf:.4f}",
        f"{speed.total_rtf / ours.total_rtf:.2f}",
        f"{speed.duplex_streams:.1f}",
        *times,
        _NONE if start is None else f"{start.seconds:.2f} / {_mega(start.peak_rss_bytes)}",
    )


def _calls(ours: GroveFigures) -> str:
    rows = [
        (str(call.frames_per_call), f"{call.speed.encode_rtf:.4f}", f"{call.speed.decode_rtf:.4f}")
        for call in ours.calls
    ]
    header = ("frames a call", "RTF encode", "decode")
    return f"One file, more frames in each call:\n\n{_table(header, rows)}"


def _batches(ours: GroveFigures) -> str:
    rows = [
        (
            str(batch.streams),
            f"{batch.encode_ms:.2f}",
            f"{batch.decode_ms:.2f}",
            f"{batch.duplex_streams:.1f}",
        )
        for batch in ours.batches
    ]
    header = ("live streams in a batch", "encode ms", "decode ms", "duplex streams a core")
    return (
        f"Live streams, one {ours.steps.step_ms:g} ms frame of each in a step, CPU time:\n\n"
        + _table(header, rows)
    )


def _bound(ours: GroveFigures) -> str:
    weights, p50_ms = ours.weights, ours.steps.both.p50_ms
    return (
        f"A step of one stream multiplies by {weights.weight_bytes / 1e6:.1f} MB of weights. This "
        f"thread reads so many bytes at {weights.read_bytes_per_second / 1e9:.1f} GB/s (and copies "
        f"at {weights.copy_bytes_per_second / 1e9:.1f} GB/s), so no step can take less than "
        f"{weights.bound_ms:.2f} ms; it takes {p50_ms:.2f} ms, {p50_ms / weights.bound_ms:.2f} "
        "times the bound."
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with its columns lined up."""
    widths = [max(len(row[n]) for row in (header, *rows)) for n in range(len(header))]
    rule = "|".join(
        "-" * (width + 2) if n < _LEFT_COLUMNS else "-" * (width + 1) + ":"
        for n, width in enumerate(widths)
    )
    lines = [_line(header, widths), f"|{rule}|", *(_line(row, widths) for row in rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.ljust(width) if n < _LEFT_COLUMNS else cell.rjust(width)
        for n, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"


def _mega(count: int) -> str:
    return f"{count / 1e6:.0f}"
