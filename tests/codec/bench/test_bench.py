"""The benchmark measures what it says, and says what it could not measure."""

import json
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from grove.codec.arrays import F32, U16
from grove.codec.atomic import OutputError
from grove.codec.bench import commands, grove, neural, run
from grove.codec.bench.commands import CommandPeer, PeerProgramError
from grove.codec.bench.figures import (
    AbsentPeer,
    BenchReport,
    ColdStart,
    GroveFigures,
    Machine,
    PeerFigures,
    Percentiles,
    Speed,
)
from grove.codec.bench.history import append_line, line_of, read_lines
from grove.codec.bench.material import voice
from grove.codec.bench.table import report_text
from grove.codec.bench.timing import cpu_seconds, percentiles, read_rate, wall_seconds
from grove.codec.cli import commands as cli
from grove.codec.runtime import Codec

HISTORY = Path(__file__).parents[3] / "docs" / "benchmarks.jsonl"
# Far above what a busy machine makes of a step that takes one millisecond.
SLOWED_SECONDS = 0.03


@pytest.fixture(scope="module")
def figures(codec: Codec) -> GroveFigures:
    return grove.measure(codec, 0.4)


class SlowEncoder(Codec):
    """Takes so much longer for every call of the encoder."""

    def encode_step(self, pcm: F32, state: F32) -> tuple[U16, F32]:
        end_s = time.process_time() + SLOWED_SECONDS
        while time.process_time() < end_s:
            pass
        return super().encode_step(pcm, state)


def test_cpu_time_leaves_out_waiting_and_wall_time_counts_it() -> None:
    assert cpu_seconds(lambda: time.sleep(0.02), 3) < 0.01
    assert wall_seconds(lambda: time.sleep(0.02), 3) >= 0.02


def test_percentiles_are_those_of_the_times_in_milliseconds() -> None:
    found = percentiles([n / 1000 for n in range(101)])
    assert [found.p50_ms, found.p99_ms] == pytest.approx([50, 99])


def test_peak_memory_is_what_this_process_touched_and_not_its_parent() -> None:
    program = (
        "from grove.codec.bench.timing import peak_rss_bytes; import numpy as np; "
        "print(peak_rss_bytes()); np.ones(8 << 20); print(peak_rss_bytes())"
    )
    ballast = np.ones(32 << 20)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    before, after = map(int, done.stdout.split())
    assert 10e6 < before < ballast.nbytes
    assert 60 << 20 < after - before < 80 << 20


def test_reading_is_timed_at_a_rate_that_memory_can_have() -> None:
    assert 1e8 < read_rate(8 << 20) < 1e12


def test_the_material_is_sound_of_the_length_asked_for() -> None:
    samples = voice(0.5, 24_000)
    assert len(samples) == 12_000
    assert 0.01 < float(samples.std()) < 0.5
    np.testing.assert_array_equal(samples, voice(0.5, 24_000))
    assert not np.array_equal(samples, voice(0.5, 24_000, seed=1))


def test_every_block_shape_and_batch_is_measured(figures: GroveFigures) -> None:
    assert tuple(call.frames_per_call for call in figures.calls) == (1, 8, 32, 128)
    assert tuple(batch.streams for batch in figures.batches) == (1, 8, 32, 64)
    for speed in (figures.whole_file, *(call.speed for call in figures.calls)):
        assert 0 < speed.encode_rtf < 1
        assert 0 < speed.decode_rtf < 1
    for batch in figures.batches:
        total_ms = batch.encode_ms + batch.decode_ms
        assert batch.duplex_streams == pytest.approx(batch.streams * 20 / total_ms)


def test_a_step_is_an_encode_and_a_decode(figures: GroveFigures) -> None:
    steps = figures.steps
    assert steps.step_ms == 20
    for times in (steps.encode, steps.decode, steps.both):
        assert 0 < times.p50_ms <= times.p99_ms
    assert steps.both.p50_ms > max(steps.encode.p50_ms, steps.decode.p50_ms)


def test_the_bound_is_the_time_to_read_the_weights(figures: GroveFigures, codec: Codec) -> None:
    cost = codec.bundle.manifest.cost
    weights = figures.weights
    macs = cost.encoder_macs_per_second + cost.decoder_macs_per_second
    assert weights.weight_bytes == pytest.approx(4 * macs / 50, abs=1)
    assert weights.bound_ms == pytest.approx(
        weights.weight_bytes / weights.read_bytes_per_second * 1000
    )


def test_a_slower_encoder_shows_in_its_figures_and_in_no_other(
    figures: GroveFigures, codec: Codec
) -> None:
    slow = grove.measure(SlowEncoder(codec.bundle), 0.2)
    slowed_ms = SLOWED_SECONDS * 1000
    assert slow.steps.encode.p50_ms > slowed_ms
    assert slow.steps.both.p50_ms > slowed_ms
    assert slow.steps.decode.p50_ms < slowed_ms
    assert all(batch.encode_ms > slowed_ms for batch in slow.batches)
    assert slow.batches[0].duplex_streams < 20 / slowed_ms
    assert slow.calls[0].speed.encode_rtf > SLOWED_SECONDS / 0.02
    assert slow.whole_file.encode_rtf > figures.whole_file.encode_rtf


def script(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def command_peer(encode: str, decode: str) -> CommandPeer:
    files = ("{source}", "{target}")
    return CommandPeer("Fake", 24_000, True, (encode, *files), (decode, *files))


def test_a_program_is_charged_the_cpu_time_of_its_whole_process(tmp_path: Path) -> None:
    idle = script(tmp_path, "idle", 'sleep 0.05; cp "$1" "$2"')
    busy = script(
        tmp_path, "busy", 'i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; cp "$1" "$2"'
    )
    found = commands.measure(command_peer(idle, busy), 1.0)
    assert isinstance(found, PeerFigures)
    assert 0 < found.whole_file.encode_rtf < 0.05
    assert found.whole_file.decode_rtf > found.whole_file.encode_rtf


def test_a_program_that_fails_is_an_error_with_its_words(tmp_path: Path) -> None:
    broken = script(tmp_path, "broken", "echo no such luck >&2; exit 3")
    with pytest.raises(PeerProgramError, match="ended with 3, expected 0: no such luck"):
        commands.measure(command_peer(broken, broken), 0.1)


def test_a_peer_that_is_not_installed_is_said_to_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = commands.measure(command_peer("no-such-encoder", "no-such-decoder"), 0.1)
    assert absent == AbsentPeer(
        system="Fake", reason="no-such-encoder and no-such-decoder not installed"
    )
    monkeypatch.setattr(run, "find_spec", lambda _: None)
    monkeypatch.setattr(commands, "COMMAND_PEERS", ())
    reasons = [peer.reason for peer in run._peers(0.1) if isinstance(peer, AbsentPeer)]
    assert len(reasons) == len(neural.NAMES)
    assert all("torch and transformers not installed" in reason for reason in reasons)


def test_the_report_sets_peers_beside_grove_and_names_the_absent(figures: GroveFigures) -> None:
    ours = Speed(encode_rtf=0.01, decode_rtf=0.01)
    theirs = Speed(encode_rtf=0.2, decode_rtf=0.1)
    report = BenchReport(
        machine=Machine(cpu="A CPU", cores=1, python="3", onnxruntime="1", numpy="2"),
        model_sha256="0" * 64,
        seconds=1,
        grove=figures.model_copy(update={"whole_file": ours}),
        cold_start=ColdStart(seconds=0.5, peak_rss_bytes=140_000_000),
        peers=(
            PeerFigures(
                system="Peer",
                how="by hand",
                whole_file=theirs,
                steps=figures.steps.model_copy(
                    update={"both": Percentiles(p50_ms=12.345, p99_ms=67.891)}
                ),
            ),
        ),
        absent_peers=(AbsentPeer(system="Ghost", reason="not installed"),),
    )
    text = report_text(report)
    ours_line, peer_line = (
        line for line in text.splitlines() if line.startswith(("| grove", "| Peer"))
    )
    cells = [cell.strip() for cell in peer_line.strip("|").split("|")]
    assert cells[:5] == ["Peer", "0.2000", "0.1000", "15.00", "3.3"]
    assert "12.35 / 67.89" in cells
    assert cells[-2:] == ["-", "-"]
    assert "0.50 / 140" in ours_line
    assert "Not measured: Ghost (not installed)." in text
    assert BenchReport.model_validate_json(report.model_dump_json()) == report


def test_the_command_measures_in_fresh_processes_and_keeps_a_line_of_it(
    capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run, "_COLD_STARTS", 1)
    history = tmp_path / "history.jsonl"
    options = ["--seconds", "0.2", "--no-peers", "--json", "--history", str(history)]
    assert cli.main(["bench", *options]) == 0
    report = BenchReport.model_validate(json.loads(capsysbinary.readouterr().out))
    (line,) = read_lines(history)
    assert line == line_of(report, line.date)
    assert report.grove.system.startswith("grove-24k ")
    assert 0.05 < report.cold_start.seconds < 20
    assert 30e6 < report.cold_start.peak_rss_bytes < 400e6
    assert report.peers == ()


def test_a_history_grows_by_a_line_and_keeps_what_it_had(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    kept = read_lines(HISTORY)[0]
    later = kept.model_copy(update={"grove_version": "9.9.9"})
    append_line(history, kept)
    append_line(history, later)
    assert read_lines(history) == [kept, later]


def test_a_history_that_cannot_be_written_is_one_line_of_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot append to .*gone.* No such file"):
        append_line(tmp_path / "gone" / "history.jsonl", read_lines(HISTORY)[0])


def test_the_history_kept_here_is_in_order_and_whole() -> None:
    dates = [line.date for line in read_lines(HISTORY)]
    assert dates
    assert dates == sorted(dates)


def test_a_worker_that_dies_says_why() -> None:
    with pytest.raises(run.BenchError, match=r"expected 0: .*no bundle no-such-model"):
        run._output_of("grove.codec.bench.cold_start", "no-such-model")


@pytest.mark.slow
@pytest.mark.parametrize("name", neural.NAMES)
def test_a_neural_peer_is_measured_where_it_is_installed(name: str) -> None:
    pytest.importorskip("transformers")
    found = run._neural_peer(name, 0.4)
    assert isinstance(found, PeerFigures)
    assert found.whole_file.total_rtf > 0
    assert found.cold_start is not None
    assert found.peak_rss_bytes is not None
    assert found.peak_rss_bytes >= found.cold_start.peak_rss_bytes > 100e6
