"""Listings: folders, csv, parquet and tars; guesses, and what is refused."""

import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from grove.training.data.manifest import DataError, Entry, entry_of_path, list_audio

ROWS = """file,seconds,source,speaker,native_rate,kind,shard
a.wav,1.5,corpus,anna,16000,speech,one.tar
b.wav,,corpus,,,,two.tar
c.wav,2,band,band,44100,music,one.tar
"""


def manifest(folder: Path, text: str = ROWS) -> Path:
    path = folder / "list.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_rows_keep_their_columns_and_gaps_are_guessed(tmp_path: Path) -> None:
    listing = list_audio(manifest(tmp_path))
    assert [shard.name for shard in listing.shards] == ["one.tar", "two.tar"]
    assert listing.shards[0].entries == (
        Entry("a.wav", "corpus", "anna", "speech", 16_000, 1.5),
        Entry("c.wav", "band", "band", "music", 44_100, 2.0),
    )
    assert listing.shards[1].entries == (Entry("b.wav", "corpus", "folder"),)


def test_parquet_lists_what_csv_lists(tmp_path: Path) -> None:
    table = pa.table(
        {
            "file": ["a.wav", "b.wav", "c.wav"],
            "seconds": [1.5, None, 2.0],
            "source": ["corpus", "corpus", "band"],
            "speaker": ["anna", None, "band"],
            "native_rate": [16_000, None, 44_100],
            "kind": ["speech", None, "music"],
            "shard": ["one.tar", "two.tar", "one.tar"],
        }
    )
    pq.write_table(table, tmp_path / "list.parquet")
    assert list_audio(tmp_path / "list.parquet") == list_audio(manifest(tmp_path))


def test_shard_patterns_select_shards(tmp_path: Path) -> None:
    listing = list_audio(manifest(tmp_path), shards=["t*"])
    assert [shard.name for shard in listing.shards] == ["two.tar"]
    with pytest.raises(DataError, match=r"no shard matching \['x\*'\]; it has one.tar, two.tar"):
        list_audio(manifest(tmp_path), shards=["x*"])


def test_unpacked_files_are_preferred_over_their_tar(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    one, two = list_audio(manifest(tmp_path)).shards
    assert (one.tar, two.tar) == (None, tmp_path / "two.tar")


def test_a_folder_gives_audio_and_tars_and_nothing_else(tmp_path: Path) -> None:
    for name in ("music/band/song.flac", "corpus/anna/one.WAV", "corpus/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with tarfile.open(tmp_path / "more.tar.gz", "w:gz"):
        pass
    tar, loose = list_audio(tmp_path).shards
    assert (tar.name, tar.entries) == ("more.tar.gz", None)
    assert loose.entries == (
        Entry("corpus/anna/one.WAV", "corpus", "anna"),
        Entry("music/band/song.flac", "band", "band", "music"),
    )


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("x.wav", Entry("x.wav", "folder", "folder")),
        ("noise/x.wav", Entry("noise/x.wav", "folder", "folder", "noise")),
        ("vctk/p225/x.wav", Entry("vctk/p225/x.wav", "vctk", "p225")),
        ("libri/19/198/x.wav", Entry("libri/19/198/x.wav", "libri", "19")),
    ],
)
def test_paths_tell_kind_source_and_speaker(file: str, expected: Entry) -> None:
    assert entry_of_path(file) == expected


@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_share_out_every_recording_once(world: int, tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c.wav", "d.wav"):
        (tmp_path / name).touch()
    for name in ("x.tar", "y.tar", "z.tar"):
        (tmp_path / name).touch()
    listing = list_audio(tmp_path)
    parts = [listing.of_rank(rank, world) for rank in range(world)]
    dealt = [shard.name for part in parts for shard in part.shards if shard.tar]
    assert sorted(dealt) == ["x.tar", "y.tar", "z.tar"]
    files = [e.file for part in parts for shard in part.shards for e in shard.entries or ()]
    assert sorted(files) == ["a.wav", "b.wav", "c.wav", "d.wav"]


def test_the_digest_follows_listing_files_and_rate(tmp_path: Path) -> None:
    path = manifest(tmp_path)
    digests = {list_audio(path).digest(24_000), list_audio(path).digest(16_000)}
    digests.add(list_audio(manifest(tmp_path, ROWS.replace("anna", "bert"))).digest(24_000))
    (tmp_path / "one.tar").write_bytes(b"1")
    digests.add(list_audio(manifest(tmp_path)).digest(24_000))
    (tmp_path / "one.tar").write_bytes(b"22")
    digests.add(list_audio(path).digest(24_000))
    assert len(digests) == 5
    assert list_audio(path).digest(24_000) in digests


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("path,kind\na.wav,speech\n", "expected one named file"),
        ("", "expected one named file"),
        ("file,kind\na.wav,song\n", "row 1: kind is 'song', expected one of speech, music, noise"),
        ("file,seconds\na.wav,1\nb.wav,long\n", "row 2: seconds is 'long'"),
        ("file,seconds\na.wav,-1\n", "seconds is '-1'"),
        ("file,native_rate\na.wav,nan\n", "native_rate is 'nan'"),
        ("file,native_rate\na.wav,inf\n", "native_rate is 'inf'"),
        ("file,kind\n ,speech\n", "row 1: column file is empty"),
        ("file\na.wav\na.wav\n", "row 2: a.wav is listed twice"),
    ],
)
def test_a_wrong_manifest_is_refused_with_the_row(
    text: str, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=complaint):
        list_audio(manifest(tmp_path, text))


def test_damaged_parquet_binary_csv_and_odd_sources_are_data_errors(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really")
    (tmp_path / "x.csv").write_bytes(b"file\n\xff\xfe\n")
    (tmp_path / "x.wav").touch()
    for name, complaint in (
        ("x.parquet", "cannot read manifest"),
        ("x.csv", "cannot read manifest"),
        ("x.wav", "neither a folder"),
        ("none", "neither a folder"),
    ):
        with pytest.raises(DataError, match=complaint):
            list_audio(tmp_path / name)


def test_a_folder_without_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="it has no audio"):
        list_audio(tmp_path)


def test_a_folder_that_knows_nothing_of_the_recipes_shards_is_used(tmp_path: Path) -> None:
    for name in ("anna/one.wav", "bert/two.flac"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (loose,) = list_audio(tmp_path, shards=["train-*"]).shards
    assert [entry.file for entry in loose.entries or ()] == ["anna/one.wav", "bert/two.flac"]
    (tmp_path / "mine.tar").touch()
    assert list_audio(tmp_path / "mine.tar", shards=["train-*"]).shards[0].name == "mine.tar"
    # With a shard of the pattern beside them, they are not what the recipe means.
    (tmp_path / "train-000.tar").touch()
    kept = list_audio(tmp_path, shards=["train-*"]).shards
    assert [shard.name for shard in kept] == ["train-000.tar"]


def test_a_manifest_without_shards_is_used_whatever_the_recipe_names(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("file\na.wav\nb.wav\n")
    (loose,) = list_audio(tmp_path / "list.csv", shards=["train-*"]).shards
    assert [entry.file for entry in loose.entries or ()] == ["a.wav", "b.wav"]
