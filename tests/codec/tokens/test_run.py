"""A corpus becomes the same bytes however it is run, and every source has its row."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpus_cases import BUNDLE, contents, make_corpus, make_tar, request, speech

from grove.codec.arrays import F32
from grove.codec.channels import down_mix
from grove.codec.runtime import Codec
from grove.codec.sound.source import open_audio
from grove.codec.stream import encode
from grove.codec.tokens import lanes
from grove.codec.tokens.reading import TokenFolder
from grove.codec.tokens.records import LevelGateConfig, Row, TokensError
from grove.codec.tokens.run import LEDGER, MANIFEST, Share, plan_only, tokenize


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, clips: list[F32]) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"), clips)


@pytest.fixture(scope="module")
def tokens(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unbroken run that the others are held against."""
    out = tmp_path_factory.mktemp("tokens") / "whole"
    assert tokenize(request(corpus, out)) is not None
    return out


def rows_of(folder: Path) -> list[Row]:
    return list(TokenFolder(folder).rows())


def test_every_source_has_a_row_with_the_tokens_of_encoding_it_alone(
    corpus: Path, tokens: Path, codec: Codec
) -> None:
    rows = rows_of(tokens)
    assert [row.meta.id for row in rows] == sorted(
        path.relative_to(corpus).as_posix() for path in corpus.rglob("*.*")
    )
    good = [row for row in rows if row.meta.error is None]
    assert len(good) == 12
    for row in good:
        with open_audio(corpus / row.meta.id) as source:
            blocks = np.concatenate([down_mix(block) for block in source])
            assert np.array_equal(row.codes, encode(codec, blocks, source.sample_rate_hz))
            assert (row.meta.sample_rate_hz, row.meta.channels) == (
                source.sample_rate_hz,
                source.channels,
            )
            assert row.meta.duration_s == pytest.approx(len(blocks) / source.sample_rate_hz)


def test_bad_sources_are_ledgered_with_the_reason_and_lose_nothing(tokens: Path) -> None:
    ledger = [json.loads(line) for line in (tokens / LEDGER).read_text().splitlines()]
    assert [entry["id"] for entry in ledger] == ["cut.wav", "noise.wav", "zero.wav"]
    assert "is truncated" in ledger[0]["error"]
    rows = {row.meta.id: row for row in rows_of(tokens)}
    whole = rows["speaker 1/clip-001.wav"].codes
    saved = rows["cut.wav"].codes
    assert len(saved) == ledger[0]["n_frames"] > 1
    assert np.array_equal(saved[:-2], whole[: len(saved) - 2])
    assert len(rows["noise.wav"].codes) == 0


def test_lanes_calls_and_waiting_limits_change_no_byte(
    corpus: Path, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "_LANES", 3)
    monkeypatch.setattr(lanes, "ROWS_PER_CALL", 7)
    monkeypatch.setattr(lanes, "_MOST_WAITING_FRAMES", 20)
    tokenize(request(corpus, tmp_path / "other"))
    assert contents(tmp_path / "other") == contents(tokens)


@pytest.mark.slow
def test_two_workers_make_the_same_bytes(corpus: Path, tokens: Path, tmp_path: Path) -> None:
    tokenize(replace(request(corpus, tmp_path / "out"), workers=2))
    assert contents(tmp_path / "out") == contents(tokens)


def test_ranks_share_the_work_and_the_last_one_sums_up(
    corpus: Path, tokens: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    parts = [replace(request(corpus, out), share=Share(rank, 3)) for rank in (2, 0, 1)]
    manifests = [tokenize(part) for part in parts]
    assert [manifest is not None for manifest in manifests] == [False, False, True]
    assert contents(out) == contents(tokens)


RUN_SCRIPT = """
import sys
import time
from dataclasses import replace
from pathlib import Path

from corpus_cases import request
from grove.codec.tokens.run import Watcher, tokenize


class Slow(Watcher):
    def row(self, row):
        print("row", flush=True)
        time.sleep(0.02)


tokenize(replace(request(sys.argv[1], Path(sys.argv[2])), resume=True), Slow())
"""


@pytest.mark.parametrize("rows_before_the_kill", [0, 1, 6, 13])
def test_a_run_killed_at_any_moment_resumes_to_the_same_bytes(
    corpus: Path, tokens: Path, tmp_path: Path, rows_before_the_kill: int
) -> None:
    out = tmp_path / "out"
    path = os.pathsep.join((str(Path(__file__).parents[1]), *sys.path))
    with subprocess.Popen(
        [sys.executable, "-c", RUN_SCRIPT, str(corpus), str(out)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    ) as run:
        assert run.stdout is not None
        for _ in range(rows_before_the_kill):
            assert run.stdout.readline() == b"row\n"
        while not (out / "run.json").exists():
            time.sleep(0.002)
        run.send_signal(signal.SIGKILL)
    assert run.returncode == -signal.SIGKILL
    assert not (out / MANIFEST).exists()
    assert tokenize(replace(request(corpus, out), resume=True)) is not None
    assert contents(out) == contents(tokens)


@pytest.mark.slow
def test_a_run_killed_again_and_again_gets_to_the_same_bytes(
    clips: list[F32], tmp_path: Path
) -> None:
    corpus, out = make_corpus(tmp_path / "corpus", clips, count=80), tmp_path / "out"
    path = os.pathsep.join((str(Path(__file__).parents[1]), *sys.path))
    rng, kills, code = np.random.default_rng(11), 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        with subprocess.Popen(
            [sys.executable, "-c", RUN_SCRIPT, str(corpus), str(out)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        ) as run:
            assert run.stdout is not None
            # Loading does not count: a kill comes up to 0.6 s after the first row of each run.
            run.stdout.readline()
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait(float(rng.uniform(0, 0.6)))
            kills += run.poll() is None
            run.kill()
        code = run.returncode
    assert code == 0
    assert kills >= 3
    assert tokenize(request(corpus, tmp_path / "whole")) is not None
    assert contents(out) == contents(tmp_path / "whole")


def test_resuming_a_finished_run_changes_nothing(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    tokenize(request(corpus, out))
    before = contents(out)
    (corpus / "later.wav").write_bytes((corpus / "speaker 1" / "clip-001.wav").read_bytes())
    try:
        tokenize(replace(request(corpus, out), resume=True))
    finally:
        (corpus / "later.wav").unlink()
    assert contents(out) == before


def test_a_shard_that_was_cut_short_is_made_again(
    corpus: Path, tokens: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    tokenize(request(corpus, out))
    shard = out / "tokens-000001.parquet"
    shard.write_bytes(shard.read_bytes()[:-1])
    tokenize(replace(request(corpus, out), resume=True))
    assert contents(out) == contents(tokens)


def test_a_folder_in_use_and_other_settings_are_refused(corpus: Path, tmp_path: Path) -> None:
    first = request(corpus, tmp_path / "out")
    tokenize(first)
    with pytest.raises(TokensError, match="holds a run already"):
        tokenize(first)
    other = replace(first, resume=True, settings=first.settings.model_copy(update={"levels": 2}))
    with pytest.raises(TokensError, match=r"levels 6, .* this run has .* levels 2"):
        tokenize(other)
    smaller = first.settings.model_copy(update={"items_per_shard": 5})
    with pytest.raises(TokensError, match="items_per_shard 4, this run has 5"):
        tokenize(replace(first, resume=True, settings=smaller))
    plan = tmp_path / "out" / "items.jsonl"
    plan.write_bytes(plan.read_bytes().replace(b"clip-001", b"clip-999"))
    with pytest.raises(TokensError, match="was changed since the run began"):
        tokenize(replace(first, resume=True))


def test_levels_keep_the_first_books(corpus: Path, tokens: Path, tmp_path: Path) -> None:
    full = request(corpus, tmp_path / "out")
    fewer = replace(full, settings=full.settings.model_copy(update={"levels": 2}))
    tokenize(fewer)
    books = BUNDLE.spec.codes_at(2)
    for few, all_books in zip(rows_of(tmp_path / "out"), rows_of(tokens), strict=True):
        assert np.array_equal(few.codes, all_books.codes[:, :books])


def test_long_audio_becomes_parts_that_join_to_the_whole(
    clips: list[F32], tmp_path: Path, codec: Codec
) -> None:
    pcm = speech(clips, 5.0, 1)
    soundfile.write(tmp_path / "long.wav", pcm, 24_000, subtype="FLOAT")
    whole = request(tmp_path / "long.wav", tmp_path / "out")
    cut = replace(whole, settings=whole.settings.model_copy(update={"row_seconds": 2.0}))
    tokenize(cut)
    rows = rows_of(tmp_path / "out")
    assert [(row.meta.part, row.meta.n_frames) for row in rows] == [(0, 100), (1, 100), (2, 51)]
    assert np.array_equal(np.concatenate([row.codes for row in rows]), encode(codec, pcm))
    assert sum(row.meta.num_samples for row in rows) == len(pcm)
    assert [row.meta.start_s for row in rows] == [0, 1.99, 3.99]


def test_pieces_of_a_list_are_those_of_files_cut_beforehand(
    clips: list[F32], tmp_path: Path, codec: Codec
) -> None:
    pcm = speech(clips, 4.0, 2)
    soundfile.write(tmp_path / "talk.wav", pcm, 24_000, subtype="FLOAT")
    table = tmp_path / "list.csv"
    table.write_text(
        "id,path,start,end\n"
        "a,talk.wav,0.5,1.25\nb,talk.wav,1.25,2\nc,talk.wav,0.1,0.6\n,talk.wav,3,\n"
        "d,talk.wav,9,10\ne,talk.wav,3.5,4.5\nf,missing.wav,0,1\n"
    )
    tokenize(request(table, tmp_path / "out"))
    rows = {row.meta.id: row for row in rows_of(tmp_path / "out")}
    for name, start, end in (
        ("a", 0.5, 1.25),
        ("b", 1.25, 2),
        ("c", 0.1, 0.6),
        ("talk.wav@3-", 3, 4),
        ("e", 3.5, 4),
    ):
        piece = pcm[round(start * 24_000) : round(end * 24_000)]
        assert np.array_equal(rows[name].codes, encode(codec, piece)), name
        assert rows[name].meta.start_s == start
    assert rows["d"].meta.error == "the piece starts at 9 s, the audio has 4.00 s"
    assert rows["e"].meta.error == "the piece ends at 4.5 s, the audio has 4.00 s"
    assert "No such file" in str(rows["f"].meta.error)


def test_tars_are_read_member_by_member(clips: list[F32], tmp_path: Path, codec: Codec) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    make_tar(shards / "a.tar", clips)
    damaged = make_tar(shards / "b.tar", clips)
    damaged.write_bytes(damaged.read_bytes()[:9_000])
    tokenize(request(shards, tmp_path / "out"))
    rows = {row.meta.id: row for row in rows_of(tmp_path / "out")}
    assert [name for name in rows if name.startswith("a.tar")] == [
        "a.tar/utt0.flac",
        "a.tar/utt1.flac",
        "a.tar/utt1b.wav",
        "a.tar/utt2.flac",
        "a.tar/utt3.flac",
    ]
    # FLAC keeps 16 bits, so what is compared is what it gives back.
    soundfile.write(tmp_path / "same.flac", speech(clips, 0.4, 2), 24_000)
    same = soundfile.read(tmp_path / "same.flac", dtype="float32")[0]
    assert np.array_equal(rows["a.tar/utt2.flac"].codes, encode(codec, same))
    assert rows["a.tar/utt1b.wav"].meta.error is not None
    assert str(rows["b.tar/*"].meta.error).startswith("the rest of the tar: ")


def test_file_names_that_are_no_text_are_read_all_the_same(
    clips: list[F32], tmp_path: Path, codec: Codec
) -> None:
    pcm = speech(clips, 0.3, 1)
    soundfile.write(tmp_path / "a.wav", pcm, 24_000, subtype="FLOAT")
    (tmp_path / "in").mkdir()
    os.rename(tmp_path / "a.wav", os.fsencode(tmp_path / "in") + b"/bad\xff 100%41.wav")  # noqa: PTH104
    tokenize(request(tmp_path / "in", tmp_path / "out"))
    (row,) = rows_of(tmp_path / "out")
    assert row.meta.id == "bad\\udcff 100%41.wav"
    assert row.meta.error is None
    assert np.array_equal(row.codes, encode(codec, pcm))


def test_what_could_stop_a_walk_or_never_end_is_ledgered(clips: list[F32], tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    soundfile.write(folder / "deep" / "a.wav", speech(clips, 0.3, 1), 24_000)
    os.mkfifo(folder / "pipe.wav")
    (folder / "deep" / "up").symlink_to(folder)
    (folder / "gone.wav").symlink_to(tmp_path / "nothing")
    (folder / "list.txt").write_text("deep\n")
    tokenize(request(folder, tmp_path / "out"))
    rows = {row.meta.id: row.meta.error for row in rows_of(tmp_path / "out")}
    assert list(rows) == ["deep/a.wav", "gone.wav", "pipe.wav"]
    assert rows["deep/a.wav"] is None
    assert "No such file" in str(rows["gone.wav"])
    assert "is a pipe or a device, expected a file" in str(rows["pipe.wav"])
    tokenize(request(folder / "list.txt", tmp_path / "listed"))
    (row,) = rows_of(tmp_path / "listed")
    assert "is a folder, expected a file" in str(row.meta.error)


def test_a_folder_that_cannot_be_listed_is_ledgered(
    clips: list[F32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    (folder / "closed").mkdir(parents=True)
    soundfile.write(folder / "a.wav", speech(clips, 0.3, 1), 24_000)
    listed = os.scandir

    def refusing(path: Path) -> object:  # root may list everything
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refusing)
    manifest = tokenize(request(folder, tmp_path / "out"))
    assert manifest is not None
    assert (manifest.rows, manifest.errors) == (2, 1)
    (entry,) = (tmp_path / "out" / LEDGER).read_text().splitlines()
    assert json.loads(entry)["error"] == "cannot be read: Permission denied"


def test_a_plan_that_was_left_behind_is_not_taken_for_ours(
    corpus: Path, tokens: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "items.jsonl").write_text('{"kind":"file","id":"x","uri":"/x"}\n')
    tokenize(request(corpus, tmp_path / "out"))
    assert contents(tmp_path / "out") == contents(tokens)


def test_an_id_that_comes_twice_is_ledgered(clips: list[F32], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", speech(clips, 0.2, 1), 24_000)
    (tmp_path / "list.csv").write_text("id,path\nx,a.wav\nx,a.wav\n")
    manifest = tokenize(request(tmp_path / "list.csv", tmp_path / "out"))
    assert manifest is not None
    assert (manifest.rows, manifest.errors) == (1, 1)
    assert "its id came before" in (tmp_path / "out" / LEDGER).read_text()


def test_the_level_gate_makes_a_row_of_every_loud_stretch(
    clips: list[F32], tmp_path: Path, codec: Codec
) -> None:
    loud = speech(clips, 1.0, 3)
    loud = (0.3 * np.sign(loud + 1e-9)).astype(np.float32)
    silence = np.zeros(24_000, np.float32)
    pcm = np.concatenate((silence, loud, silence, loud, silence))
    soundfile.write(tmp_path / "talk.wav", pcm, 24_000, subtype="FLOAT")
    soundfile.write(tmp_path / "silent.wav", silence, 24_000)
    plain = request(tmp_path, tmp_path / "out")
    tokenize(
        replace(plain, settings=plain.settings.model_copy(update={"level_gate": LevelGateConfig()}))
    )
    rows = rows_of(tmp_path / "out")
    assert [row.meta.id for row in rows] == ["silent.wav", "talk.wav~0000", "talk.wav~0001"]
    assert rows[0].meta.n_frames == 0
    for row, start in zip(rows[1:], (0.9, 2.9), strict=True):
        assert row.meta.start_s == pytest.approx(start)
        piece = pcm[round(start * 24_000) : round((start + 1.2) * 24_000)]
        assert np.array_equal(row.codes, encode(codec, piece))


def test_a_dry_run_counts_and_writes_nothing(corpus: Path, tmp_path: Path) -> None:
    outlook = plan_only(replace(request(corpus, tmp_path / "out"), share=Share(1, 3)))
    assert (outlook.items, outlook.shards, outlook.shards_here) == (15, 4, 1)
    assert not (tmp_path / "out").exists()


def test_a_folder_written_when_the_gate_was_called_vad_is_taken_up(
    corpus: Path, tmp_path: Path
) -> None:
    asked = request(corpus, tmp_path / "t")
    gated = asked.settings.model_copy(update={"level_gate": LevelGateConfig()})
    tokenize(replace(asked, settings=gated))
    run = tmp_path / "t" / "run.json"
    old = run.read_text().replace('"level_gate"', '"vad"')
    assert '"vad"' in old
    run.write_text(old)
    assert TokenFolder(tmp_path / "t").run.settings == gated
    tokenize(replace(asked, settings=gated, resume=True))
    with pytest.raises(TokensError, match="was begun with level_gate"):
        tokenize(replace(asked, resume=True))
