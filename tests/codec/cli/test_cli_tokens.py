"""`grove tokenize` and `grove tokens`, as typed."""

import io
import json
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpus_cases import BUNDLE, contents, make_corpus

from grove.codec.arrays import F32
from grove.codec.cli import commands as cli
from grove.codec.cli.tokens import _share
from grove.codec.errors import CodecError
from grove.codec.runtime import Codec
from grove.codec.stream import decode, encode
from grove.codec.tokens.reading import TokenFolder
from grove.codec.tokens.run import Share


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, clips: list[F32]) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"), clips, count=5)


@pytest.fixture(scope="module")
def tokens(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tokens") / "t"
    assert grove("tokenize", corpus, "--out", out, "--items-per-shard", "3", "-q") == 3
    return out


def grove(*arguments: str | Path) -> int:
    return cli.main([str(argument) for argument in arguments])


def test_bad_files_end_the_run_well_and_the_exit_code_says_so(
    tokens: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (tokens / "manifest.json").is_file()
    assert grove("tokenize", corpus / "speaker 1", "--out", tmp_path / "good") == 0
    error = capsys.readouterr().err
    assert "1/1 shards, 2 rows" in error
    assert "0 errors; complete" in error


def test_json_is_the_manifest(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert grove("tokenize", corpus / "speaker 1", "--out", tmp_path / "t", "--json") == 0
    manifest = json.loads(capsys.readouterr().out)
    assert manifest["rows"] == 2
    assert manifest["card"]["codec"]["model_sha256"] == BUNDLE.spec.model_sha256
    assert [entry["name"] for entry in manifest["files"]] == ["tokens-000000.parquet"]


def test_a_dry_run_says_what_lies_ahead(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--out", tmp_path / "t", "--items-per-shard", "3", "--rank", "1", "--world", "2")
    assert grove("tokenize", corpus, *arguments, "--dry-run") == 0
    assert capsys.readouterr().out == "8 sources, 3 shards, 1 of them here\n"
    assert not (tmp_path / "t").exists()


def test_resume_needs_no_inputs(tokens: Path, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "t"
    grove("tokenize", corpus, "--out", out, "--items-per-shard", "3", "-q")
    (out / "records" / "tokens-000002.json").unlink()
    (out / "manifest.json").unlink()
    grove("tokenize", "--out", out, "--items-per-shard", "3", "--resume", "-q")
    assert contents(out) == contents(tokens)


def test_verify_says_what_is_wrong(
    tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert grove("tokens", "verify", tokens) == 0
    copy = tmp_path / "copy"
    for name, data in contents(tokens).items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(data)
    shard = bytearray((copy / "tokens-000001.parquet").read_bytes())
    shard[100] ^= 1
    (copy / "tokens-000001.parquet").write_bytes(shard)
    (copy / "ledger.jsonl").write_text("")
    (copy / "records" / "tokens-000002.json").unlink()
    capsys.readouterr()
    assert grove("tokens", "verify", copy) == 2
    said = capsys.readouterr().err
    assert "error: tokens-000001.parquet has " in said
    assert "error: shard 2 of 3 is missing" in said


def test_stats_count_every_code(
    tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "books.png"
    assert grove("tokens", "stats", tokens, "--json", "--plot", picture) == 0
    stats = json.loads(capsys.readouterr().out)
    codes = np.concatenate([row.codes for row in TokenFolder(tokens).rows()])
    assert (stats["frames"], stats["rows"], stats["failed_rows"]) == (len(codes), 8, 3)
    for book, figures in enumerate(stats["books"]):
        values, counts = np.unique(codes[:, book], return_counts=True)
        share = counts / counts.sum()
        assert figures["used"] == len(values)
        assert figures["dead"] == figures["size"] - len(values)
        assert figures["entropy_bits"] == pytest.approx(-(share * np.log2(share)).sum())
        assert figures["top_code"] == values[counts.argmax()]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert grove("tokens", "stats", tokens) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(stats["books"])


def test_decode_gives_what_the_codec_makes_of_each_source(
    tokens: Path, tmp_path: Path, codec: Codec
) -> None:
    assert grove("tokens", "decode", tokens, "--out", tmp_path / "wav") == 0
    rows = [row for row in TokenFolder(tokens).rows() if row.meta.n_frames]
    found = sorted(
        path.relative_to(tmp_path / "wav").as_posix() for path in tmp_path.rglob("*.wav")
    )
    assert found == sorted(str(Path(row.meta.id).with_suffix(".wav")) for row in rows)
    for row in rows:
        path = (tmp_path / "wav" / row.meta.id).with_suffix(".wav")
        heard = soundfile.read(path, dtype="float32")[0]
        wanted = np.clip(decode(codec, row.codes, row.meta.num_samples), -1, 1)
        assert heard.shape == wanted.shape
        assert np.abs(heard - wanted).max() < 2**-14


def test_parts_decode_to_one_file(clips: list[F32], tmp_path: Path, codec: Codec) -> None:
    pcm = np.concatenate(clips)[: 3 * 24_000 + 17]
    soundfile.write(tmp_path / "long.wav", pcm, 24_000, subtype="FLOAT")
    out = tmp_path / "t"
    grove("tokenize", tmp_path / "long.wav", "--out", out, "--row-seconds", "1", "-q")
    arguments = ("--id", "long.wav", "--levels", "2")
    assert grove("tokens", "decode", out, "--out", tmp_path / "wav", *arguments) == 0
    heard = soundfile.read(tmp_path / "wav" / "long.wav", dtype="float32")[0]
    wanted = np.clip(decode(codec, encode(codec, pcm), len(pcm), 2), -1, 1)
    assert np.abs(heard - wanted).max() < 2**-14


def test_ids_cannot_leave_the_output_folder(clips: list[F32], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", clips[0][:4_800], 24_000)
    (tmp_path / "l.csv").write_text("id,path\n../../x,a.wav\n/y,a.wav\n")
    grove("tokenize", tmp_path / "l.csv", "--out", tmp_path / "t", "-q")
    assert grove("tokens", "decode", tmp_path / "t", "--out", tmp_path / "wav") == 0
    assert sorted(p.name for p in (tmp_path / "wav").rglob("*.wav")) == ["x.wav", "y.wav"]


def test_convert_and_merge_write_folders_that_verify(tokens: Path, tmp_path: Path) -> None:
    assert grove("tokens", "convert", tokens, "--out", tmp_path / "npy", "--format", "npy") == 0
    assert grove("tokens", "merge", tokens, "--out", tmp_path / "m", "--shards-per-shard", "2") == 0
    for name in ("npy", "m"):
        assert grove("tokens", "verify", tmp_path / name) == 0


def test_what_is_no_folder_of_tokens_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert grove("tokens", "stats", tmp_path) == 2
    error = capsys.readouterr().err.splitlines()
    assert error[0].startswith(f"error: {tmp_path} holds no tokens")
    assert error[1] == "hint: name a folder that grove tokenize wrote"
    assert grove("tokenize", tmp_path / "none", "--out", tmp_path / "t") == 2
    assert not (tmp_path / "t" / "run.json").exists()


@pytest.mark.parametrize(
    ("variables", "share"),
    [
        ({}, Share(0, 1)),
        ({"RANK": "2", "WORLD_SIZE": "4"}, Share(2, 4)),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "3"}, Share(1, 3)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "9",
                "SLURM_ARRAY_TASK_MIN": "5",
                "SLURM_ARRAY_TASK_STEP": "2",
                "SLURM_ARRAY_TASK_COUNT": "4",
            },
            Share(2, 4),
        ),
    ],
)
def test_ranks_come_from_the_scheduler(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], share: Share
) -> None:
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert _share(None, None) == share
    assert _share(1, 2) == Share(1, 2)
    with pytest.raises(CodecError, match="belong together"):
        _share(1, None)
    with pytest.raises(CodecError, match="rank is 3 of 3"):
        _share(3, 3)


def test_a_url_without_its_package_is_one_line_and_a_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert grove("tokenize", "s3://bucket/*.flac", "--out", tmp_path / "t") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: s3://bucket/*.flac: ")
    assert "hint: pip install s3fs" in error
    assert grove("tokenize", "nonsense://x/*.wav", "--out", tmp_path / "u") == 2
    assert "nonsense://x/*.wav: ValueError: Protocol not known" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [("tokenize", "x.wav"), ("tokens", "merge", "a", "b"), ("tokens", "decode", "a")]
)
def test_a_url_is_no_folder_to_write_to(
    command: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert grove(*command, "--out", "s3://bucket/x") == 2
    assert "error: s3://bucket/x: tokens are written to a folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_sources_behind_http_have_the_tokens_of_the_files(corpus: Path, tmp_path: Path) -> None:
    handler = partial(QuietHandler, directory=str(corpus / "speaker 1"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            names = sorted(path.name for path in (corpus / "speaker 1").iterdir())
            urls = [f"{url}/{name}" for name in [*names, "not-there.wav"]]
            assert grove("tokenize", *urls, "--out", tmp_path / "http", "-q") == 3
        finally:
            server.shutdown()
            thread.join()
    assert grove("tokenize", corpus / "speaker 1", "--out", tmp_path / "files", "-q") == 0
    *found, lost = TokenFolder(tmp_path / "http").rows()
    assert "not-there.wav: cannot be read" in (lost.meta.error or "")
    wanted = list(TokenFolder(tmp_path / "files").rows())
    for row, own in zip(found, wanted, strict=True):
        assert np.array_equal(row.codes, own.codes)
        assert row.meta.source_sha256 == own.meta.source_sha256


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_a_run_is_not_taken_up_with_other_inputs(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "t"
    assert grove("tokenize", corpus / "speaker 1", "--out", out, "-q") == 0
    assert grove("tokenize", corpus / "speaker 0", "--out", out, "--resume") == 2
    assert "was begun with other inputs" in capsys.readouterr().err
    for again in ((), (corpus / "speaker 1",)):
        assert grove("tokenize", *again, "--out", out, "--resume") == 0


def test_lists_on_stdin_are_compared_by_what_they_list(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = sorted((corpus / "speaker 1").iterdir())[:2]

    def run(source: Path, *options: str) -> int:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{source}\n"))
        return grove("tokenize", "-", "--out", tmp_path / "t", "-q", *options)

    assert run(first) == 0
    assert run(other, "--resume") == 2
    assert run(first, "--resume") == 0
