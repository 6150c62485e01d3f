"""Libraries that training scripts read tokens with find in ours what Parquet holds.

Each in a process of its own: they import torch, leave files open and warn about it.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from corpus_cases import contents, make_corpus, speech
from corpus_cases import request as run_of

from grove.codec.arrays import F32
from grove.codec.tokens.reading import TokenFolder
from grove.codec.tokens.records import Row
from grove.codec.tokens.rewrite import rewrite
from grove.codec.tokens.run import tokenize

pytestmark = pytest.mark.slow

LHOTSE = """
import json
import sys

from lhotse import CutSet
from lhotse.dataset import DynamicBucketingSampler
from lhotse.qa import validate

cuts = CutSet.from_shar(in_dir=sys.argv[1])
for cut in cuts:
    validate(cut)
    codes = cut.load_codes()
    piece = cut.truncate(offset=0.1, duration=0.04) if cut.duration > 0.2 else None
    print(json.dumps({
        "grove": cut.custom["grove"],
        "duration": cut.duration,
        "dtype": str(codes.dtype),
        "codes": codes.tolist(),
        "piece": piece and piece.load_codes().tolist(),
    }))
sampler = DynamicBucketingSampler(cuts, max_duration=4, num_buckets=2, shuffle=True)
print(json.dumps(sum(len(batch) for batch in sampler)))
"""

DATASETS = """
import json
import sys

from datasets import load_dataset

rows = load_dataset("parquet", data_files=sys.argv[1] + "/*.parquet", split="train")
streamed = load_dataset(
    "parquet", data_files=sys.argv[1] + "/*.parquet", split="train", streaming=True
)
assert list(streamed) == list(rows)
for row in rows:
    print(json.dumps(row))
print(json.dumps(str(rows.features["codes"])))
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, clips: list[F32]) -> Path:
    """A corpus, and pieces of one file whose ids are no tidy paths."""
    folder = make_corpus(tmp_path_factory.mktemp("corpus"), clips, count=5)
    soundfile.write(folder / "talk.wav", speech(clips, 3.0, 1), 24_000)
    ids = [".", "..", "a//b/", "__y", "/y", "../../x", "50% of a.b", "two\nlines"]
    table = folder / "list.jsonl"
    with table.open("w") as file:
        for index, item_id in enumerate(ids):
            piece = {"id": item_id, "start": 0.3 * index, "end": 0.3 * index + 0.31}
            file.write(json.dumps({"path": "talk.wav", **piece}) + "\n")
        for path in sorted(folder.rglob("*.*")):
            if path.suffix in (".wav", ".flac"):
                file.write(json.dumps({"path": str(path.relative_to(folder))}) + "\n")
    return table


@pytest.fixture(scope="module")
def parquet(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tokens") / "parquet"
    tokenize(run_of(corpus, out))
    return out


def rows_of(folder: Path) -> list[Row]:
    return list(TokenFolder(folder).rows())


def lines_of(script: str, folder: Path, cache: Path, *options: str) -> list[Any]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder), *options],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=cache,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_lhotse_reads_the_codes_of_the_parquet_output(
    corpus: Path, parquet: Path, tmp_path: Path
) -> None:
    tokenize(run_of(corpus, tmp_path / "shar", "shar"))
    *cuts, sampled = lines_of(LHOTSE, tmp_path / "shar" / "shar", tmp_path)
    wanted = [row for row in rows_of(parquet) if row.meta.n_frames]
    assert len(wanted) == 8 + 7
    assert [cut["grove"] for cut in cuts] == [row.meta.model_dump() for row in wanted]
    for cut, row in zip(cuts, wanted, strict=True):
        assert (cut["dtype"], cut["codes"]) == ("uint16", row.codes.tolist())
        assert cut["duration"] == pytest.approx(row.meta.n_frames * 0.02)
        assert cut["piece"] == (row.codes[5:7].tolist() if row.meta.n_frames > 10 else None)
    assert sampled == len(wanted)


def test_lhotse_reads_a_shard_in_which_nothing_could_be_read(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    tokenize(run_of(tmp_path / "bad.wav", tmp_path / "shar", "shar"))
    script = LHOTSE.partition("sampler = ")[0]
    assert lines_of(script, tmp_path / "shar" / "shar", tmp_path) == []


def test_shar_from_parquet_has_the_bytes_of_shar_at_once(
    corpus: Path, parquet: Path, tmp_path: Path
) -> None:
    tokenize(run_of(corpus, tmp_path / "at once", "shar"))
    rewrite([TokenFolder(parquet)], tmp_path / "converted", "shar")
    at_once, converted = (contents(tmp_path / name / "shar") for name in ("at once", "converted"))
    assert len(at_once) == 10
    assert converted == at_once


def test_datasets_loads_parquet_as_it_is(parquet: Path, tmp_path: Path) -> None:
    *rows, kind = lines_of(DATASETS, parquet, tmp_path)
    wanted = rows_of(parquet)
    assert "uint16" in str(kind)
    for row, own in zip(rows, wanted, strict=True):
        codes = np.array(row.pop("codes"), np.uint16).reshape(row["n_frames"], row["n_books"])
        assert np.array_equal(codes, own.codes)
        assert row == own.meta.model_dump()


def test_what_the_document_shows_loads(corpus: Path, parquet: Path, tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "tokens.md").read_text()
    blocks = re.findall(r"```python\n(from (?:datasets|lhotse) .*?)```", text, re.S)
    assert len(blocks) == 2
    tokenize(run_of(corpus, tmp_path / "shar", "shar"))
    (tmp_path / "tokens").symlink_to(parquet)
    frames = sum(row.meta.n_frames for row in rows_of(parquet))
    counts = [
        blocks[0] + "\nprint(sum(row['n_frames'] for row in rows))",
        "total = 0\n" + blocks[1] + "    total += len(codes)\nprint(total)",
    ]
    assert lines_of(counts[0], tmp_path / "tokens", tmp_path) == [frames]
    (tmp_path / "tokens").unlink()
    (tmp_path / "tokens").symlink_to(tmp_path / "shar")
    assert lines_of(counts[1], tmp_path / "tokens", tmp_path) == [frames]


WEBDATASET = """
import json
import sys
from pathlib import Path

import webdataset

tars = sorted(map(str, Path(sys.argv[1]).glob("*.tar")))
samples = webdataset.WebDataset(tars, shardshuffle=False).decode().to_tuple("npy", "json")
for codes, columns in samples:
    print(json.dumps({"codes": codes.tolist(), "shape": codes.shape, "columns": columns}))
"""

LOADED = """
import json
import sys

from datasets import load_dataset

for streaming in (False, True):
    rows = load_dataset(sys.argv[2], data_files=sys.argv[1] + "/" + sys.argv[3], split="train",
                        streaming=streaming)
    for row in rows:
        columns = row.get("json") or {name: row[name] for name in row if name != "codes"}
        codes = row["npy"] if "npy" in row else row["codes"]
        print(json.dumps({"codes": [list(map(int, frame)) for frame in codes],
                          "id": columns["id"], "error": columns["error"]}))
"""


@pytest.fixture(scope="module")
def broken_first(tmp_path_factory: pytest.TempPathFactory, clips: list[F32]) -> Path:
    """A corpus that begins with what cannot be read, and ends with a shard of nothing else."""
    folder = tmp_path_factory.mktemp("broken")
    for name in ("a.wav", "b.wav", "p.wav", "w.wav", "x.wav", "y.wav", "z.wav"):
        (folder / name).write_bytes(b"no audio")
    for name in ("m.wav", "n.wav", "o.wav"):
        soundfile.write(folder / name, speech(clips, 0.5, ord(name[0])), 24_000)
    return folder


@pytest.mark.parametrize("source", ["corpus", "broken_first"])
def test_webdataset_reads_a_sample_for_every_source(
    source: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    tokenize(run_of(request.getfixturevalue(source), tmp_path / "tars", "webdataset"))
    wanted = rows_of(tmp_path / "tars")
    samples = lines_of(WEBDATASET, tmp_path / "tars", tmp_path)
    assert [sample["columns"] for sample in samples] == [row.meta.to_columns() for row in wanted]
    assert [sample["codes"] for sample in samples] == [row.codes.tolist() for row in wanted]
    assert all(sample["shape"][1] == 12 for sample in samples)


@pytest.mark.parametrize("source", ["corpus", "broken_first"])
@pytest.mark.parametrize(
    ("builder", "pattern"), [("webdataset", "*.tar"), ("json", "tokens-*.jsonl")]
)
def test_datasets_loads_a_row_for_every_source(
    source: str, builder: str, pattern: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    ours = "jsonl" if builder == "json" else "webdataset"
    tokenize(run_of(request.getfixturevalue(source), tmp_path / "out", ours))
    wanted = [
        {"codes": row.codes.tolist(), "id": row.meta.id, "error": row.meta.error or ""}
        for row in rows_of(tmp_path / "out")
    ]
    found = lines_of(LOADED, tmp_path / "out", tmp_path, builder, pattern)
    assert [row["id"] for row in found] == 2 * [row["id"] for row in wanted]
    assert found == 2 * wanted
