"""Each format gives back its rows, converts to the bytes of the others, and others can read it."""

import io
import json
import re
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import safetensors.numpy
import webdataset
from corpus_cases import BUNDLE, contents, make_corpus, request

from grove.codec.arrays import F32
from grove.codec.container.assembler import Block
from grove.codec.container.file import ContainerReader
from grove.codec.tokens import extras
from grove.codec.tokens.formats.kaldi import kaldi_key
from grove.codec.tokens.formats.tar import tar_key
from grove.codec.tokens.reading import TokenFolder
from grove.codec.tokens.records import FORMATS, CodecCard, Format, Row, TokensError
from grove.codec.tokens.rewrite import rewrite
from grove.codec.tokens.run import RUN, tokenize
from grove.codec.tokens.shard_files import file_names
from grove.codec.tokens.verify import problems_of


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, clips: list[F32]) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"), clips, count=5)


@pytest.fixture(scope="module")
def written(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Format, Path]:
    """The same corpus in every format."""
    folder = tmp_path_factory.mktemp("formats")
    for name in FORMATS:
        tokenize(request(corpus, folder / name, name, items_per_shard=3))
    return {name: folder / name for name in FORMATS}


def rows_of(folder: Path) -> list[Row]:
    return list(TokenFolder(folder).rows())


def shards_of(folder: Path) -> dict[str, bytes]:
    """Return all files but those that say how the folder came to be."""
    return {
        name: data for name, data in contents(folder).items() if name not in (RUN, "items.jsonl")
    }


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_rows(written: dict[Format, Path], name: Format) -> None:
    rows, wanted = rows_of(written[name]), rows_of(written["parquet"])
    assert len(rows) == 8
    assert [row.meta for row in rows] == [row.meta for row in wanted]
    for row, other in zip(rows, wanted, strict=True):
        assert row.codes.dtype == np.uint16
        assert np.array_equal(row.codes, other.codes)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_verifies(written: dict[Format, Path], name: Format) -> None:
    assert list(problems_of(TokenFolder(written[name]))) == []


@pytest.mark.parametrize("name", FORMATS)
def test_converting_gives_the_bytes_of_tokenizing_at_once(
    written: dict[Format, Path], tmp_path: Path, name: Format
) -> None:
    for source in ("parquet", "kaldi"):
        out = tmp_path / f"from-{source}"
        rewrite([TokenFolder(written[source])], out, name)
        assert shards_of(out) == shards_of(written[name])


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_shard_is_an_error_that_names_it(
    written: dict[Format, Path], tmp_path: Path, name: Format
) -> None:
    out = tmp_path / "copy"
    rewrite([TokenFolder(written[name])], out, name)
    shard = out / file_names(name, "tokens-000001")[0]
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    found = list(problems_of(TokenFolder(out)))
    assert any(shard.name in line for line in found)
    # A tar may end well where a member does: then its rows are too few.
    with pytest.raises(TokensError, match=rf"{re.escape(shard.name)}|tokens-000001 has \d rows"):
        rows_of(out)


def test_parquet_is_read_by_anyone(written: dict[Format, Path]) -> None:
    files = sorted(written["parquet"].glob("*.parquet"))
    table = pyarrow.parquet.read_table(files[0])
    assert str(table.schema.field("codes").type) == "list<element: uint16>"
    card = CodecCard.model_validate_json(table.schema.metadata[b"grove.codec"])
    assert card.codec == BUNDLE.spec
    column = pyarrow.parquet.ParquetFile(files[0]).metadata.row_group(0).column(2)
    assert column.compression == "ZSTD"
    assert "RLE_DICTIONARY" in column.encodings
    for record in table.to_pylist():
        assert len(record["codes"]) == record["n_frames"] * record["n_books"]


def test_numpy_maps_the_frames_of_a_shard(written: dict[Format, Path]) -> None:
    frames = np.load(written["npy"] / "tokens-000000.npy", mmap_mode="r")
    rows = list(TokenFolder(written["npy"]).shard_rows(0))
    assert frames.shape == (sum(row.meta.n_frames for row in rows), 12)
    assert np.array_equal(frames, np.concatenate([row.codes for row in rows]))


def test_safetensors_reads_what_we_wrote(written: dict[Format, Path]) -> None:
    tensors = safetensors.numpy.load_file(written["safetensors"] / "tokens-000000.safetensors")
    rows = list(TokenFolder(written["parquet"]).shard_rows(0))
    assert set(tensors) == {row.key for row in rows}
    for row in rows:
        assert np.array_equal(tensors[row.key], row.codes)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves its files open
def test_webdataset_reads_what_we_wrote(written: dict[Format, Path]) -> None:
    url = str(written["webdataset"] / "tokens-{000000..000002}.tar")
    samples = list(webdataset.WebDataset(url, shardshuffle=False).decode())
    rows = rows_of(written["parquet"])
    assert [sample["json"]["id"] for sample in samples] == [row.meta.id for row in rows]
    for sample, row in zip(samples, rows, strict=True):
        assert sample["__key__"] == tar_key(row.key)
        assert sample["npy"].shape == row.codes.shape
        assert np.array_equal(sample["npy"], row.codes)


def test_kaldi_archives_are_where_the_scp_says(written: dict[Format, Path]) -> None:
    folder = written["kaldi"]
    rows = {kaldi_key(row.key): row for row in rows_of(folder) if row.meta.n_frames}
    found = 0
    for scp in sorted(folder.glob("*.scp")):
        for line in scp.read_text().splitlines():
            key, place = line.split()
            name, offset = place.split(":")
            data = (folder / name).read_bytes()[int(offset) :]
            assert data[:5] == b"\0BFM "
            frames, books = (int.from_bytes(data[at : at + 4], "little") for at in (6, 11))
            matrix = np.frombuffer(data, "<f4", frames * books, 15).reshape(frames, books)
            assert np.array_equal(matrix, rows[key].codes)
            found += 1
    assert found == len(rows)


def test_grv_members_are_containers(written: dict[Format, Path]) -> None:
    rows = {f"{tar_key(row.key)}.grv": row for row in rows_of(written["parquet"])}
    none = np.zeros((0, 12), np.uint16)
    seen = 0
    for shard in sorted(written["grv"].glob("*.tar")):
        with tarfile.open(shard) as archive:
            for member in archive:
                content = archive.extractfile(member)
                assert content is not None
                if member.name.endswith(".json"):
                    continue
                reader = ContainerReader(io.BytesIO(content.read()))
                codes = [event.codes[0] for event in reader.events() if isinstance(event, Block)]
                assert np.array_equal(np.concatenate([none, *codes]), rows[member.name].codes)
                assert reader.header.tags["id"] == rows[member.name].meta.id
                seen += 1
    assert seen == len(rows)


def test_jsonl_holds_codes_frame_by_frame(written: dict[Format, Path]) -> None:
    lines = (written["jsonl"] / "tokens-000000.jsonl").read_text().splitlines()
    rows = list(TokenFolder(written["parquet"]).shard_rows(0))
    assert [json.loads(line)["codes"] for line in lines] == [row.codes.tolist() for row in rows]


def test_merging_puts_folders_behind_each_other(
    written: dict[Format, Path], clips: list[F32], tmp_path: Path
) -> None:
    other = make_corpus(tmp_path / "other", clips, count=2)
    tokenize(request(other, tmp_path / "two", items_per_shard=3))
    folders = [TokenFolder(written["parquet"]), TokenFolder(tmp_path / "two")]
    manifest = rewrite(folders, tmp_path / "out", "parquet", shards_per_shard=10)
    assert manifest.shards == 1
    # Both corpora have the same broken files: what comes twice in a shard is ledgered.
    keys = {row.key for folder in folders for row in folder.rows()}
    assert {row.key for row in rows_of(tmp_path / "out")} == keys
    apart = rewrite(folders, tmp_path / "apart", "npy")
    assert apart.shards == sum(folder.run.shards for folder in folders)
    assert apart.rows == sum(len(list(folder.rows())) for folder in folders)


def test_an_unfinished_folder_is_not_converted(corpus: Path, tmp_path: Path) -> None:
    tokenize(request(corpus, tmp_path / "out", items_per_shard=3))
    (tmp_path / "out" / "records" / "tokens-000001.json").unlink()
    with pytest.raises(TokensError, match="lacks shard 1 of 3"):
        rewrite([TokenFolder(tmp_path / "out")], tmp_path / "new", "npy")
    assert not (tmp_path / "new").exists()


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(TokensError, match="pyarrow is not installed") as caught:
        extras.pyarrow()
    assert caught.value.hint == "pip install 'grove-codec[tokens]'"
