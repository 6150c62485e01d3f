"""What a command line means."""

import io
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grove.codec.tokens.inputs import list_items
from grove.codec.tokens.plan import (
    FileItem,
    TarItem,
    count_shards,
    read_plan,
    read_slice,
    write_plan,
)
from grove.codec.tokens.records import TokensError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b/2.flac", "b/1.wav", "a.MP3", "b/notes.txt", "c.tar", "d/x.opus"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "in"


def ids(*inputs: str) -> list[str]:
    return [item.id for item in list_items(inputs)]


def test_a_folder_gives_its_audio_sorted_with_relative_ids(folder: Path) -> None:
    items = list(list_items([str(folder)]))
    assert [item.id for item in items] == ["a.MP3", "b/1.wav", "b/2.flac", "c.tar", "d/x.opus"]
    assert [type(item) for item in items] == [FileItem] * 3 + [TarItem, FileItem]
    assert all(Path(item.uri).is_absolute() for item in items)


def test_patterns_are_sorted_and_relative_to_their_fixed_part(folder: Path) -> None:
    assert ids(f"{folder}/**/*.flac") == ["b/2.flac"]
    assert ids(f"{folder}/b/[0-9].*") == ["1.wav", "2.flac"]


def test_several_inputs_keep_ids_apart(folder: Path) -> None:
    found = ids(str(folder / "b"), str(folder / "d"), str(folder / "a.MP3"))
    assert found == [
        f"{folder}/b/1.wav",
        f"{folder}/b/2.flac",
        f"{folder}/d/x.opus",
        f"{folder}/a.MP3",
    ]


LISTS = {
    "l.txt": "in/a.MP3\n# no\n\nin/b/1.wav\n",
    "l.csv": "seconds,path\n1,in/a.MP3\n2,in/b/1.wav\n",
    "l.tsv": "audio\tn\nin/a.MP3\t1\nin/b/1.wav\t2\n",
    "l.jsonl": '{"audio_filepath": "in/a.MP3", "duration": 3}\n{"path": "in/b/1.wav"}\n',
    "l.scp": "in/a.MP3 in/a.MP3\nin/b/1.wav in/b/1.wav\n",
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_every_kind_name_the_same(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(LISTS[name])
    items = list(list_items([str(tmp_path / name)]))
    assert [item.id for item in items] == ["in/a.MP3", "in/b/1.wav"]
    assert [item.uri for item in items] == [str(folder / "a.MP3"), str(folder / "b" / "1.wav")]


def test_parquet_lists_have_pieces(folder: Path, tmp_path: Path) -> None:
    table = pa.table(
        {
            "path": ["in/a.MP3", "in/a.MP3"],
            "start": [0.5, 2.0],
            "duration": [1.0, 2.5],
            "big": ["x", "y"],
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "l.parquet")
    items = [item for item in list_items([str(tmp_path / "l.parquet")]) if item.kind == "file"]
    assert [item.id for item in items] == ["in/a.MP3@0.5-1.5", "in/a.MP3@2-4.5"]
    assert [(i.start_s, i.end_s) for i in items if isinstance(i, FileItem)] == [
        (0.5, 1.5),
        (2, 4.5),
    ]
    assert items[0].uri == str(folder / "a.MP3")


def test_stdin_names_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.stdin", io.StringIO("a.MP3\nb/1.wav\n"))
    assert [item.uri for item in list_items(["-"])] == [
        str(folder / "a.MP3"),
        str(folder / "b" / "1.wav"),
    ]


def test_urls_go_through_fsspec(folder: Path) -> None:
    assert ids(f"file://{folder}/b/*.wav") == [f"file://{folder}/b/1.wav"]
    assert ids("memory://bucket/one.wav") == ["memory://bucket/one.wav"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.csv", "name\nx\n", "line 2 names no audio, expected a column path"),
        ("l.csv", "path,start,end\na.wav,3,2\n", "line 2: the piece ends at 2.0 s, expected after"),
        ("l.csv", "path,start\na.wav,soon\n", "line 2: 'soon' is no number of seconds"),
        ("l.jsonl", "{\n", "line 1 is not JSON"),
        ("l.jsonl", "[1]\n", r"line 1 is \[1\], expected an object"),
        ("l.scp", "key cat x.wav |\n", "line 1: expected an id and a path, not a command"),
        ("l.txt", "", "holds no audio"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused_by_line(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(TokensError, match=message):
        ids(str(tmp_path / name))


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokensError, match="is not there"):
        ids(str(tmp_path / "none.wav"))
    with pytest.raises(TokensError, match="holds no audio"):
        ids(str(tmp_path))
    with pytest.raises(TokensError, match="holds no audio"):
        ids(f"{tmp_path}/*.wav")
    with pytest.raises(TokensError, match="no input named"):
        ids()


def test_shards_depend_on_the_plan_alone_and_tars_stand_alone(tmp_path: Path) -> None:
    files = [FileItem(id=f"f{n}", uri=f"/f{n}") for n in range(5)]
    tar = TarItem(id="t", uri="/t.tar")
    write_plan(tmp_path, [*files[:3], tar, *files[3:]])
    plan = read_plan(tmp_path, 2)
    assert plan.items == 6
    got = [[item.id for item in read_slice(plan.path, part)] for part in plan.slices]
    assert got == [["f0", "f1"], ["f2"], ["t"], ["f3", "f4"]]


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_a_dry_run_counts_the_shards_that_a_plan_has(are_tars: list[bool], size: int) -> None:
    items = [
        TarItem(id=f"{n}", uri=f"/{n}.tar") if is_tar else FileItem(id=f"{n}", uri=f"/{n}")
        for n, is_tar in enumerate(are_tars)
    ]
    with tempfile.TemporaryDirectory() as folder:
        write_plan(Path(folder), items)
        plan = read_plan(Path(folder), size)
    assert count_shards(items, size) == (plan.items, len(plan.slices))


def test_the_plan_of_a_faster_rank_stands(tmp_path: Path) -> None:
    write_plan(tmp_path, [FileItem(id="first", uri="/a")])
    write_plan(tmp_path, [FileItem(id="second", uri="/b")])
    plan = read_plan(tmp_path, 9)
    assert [item.id for item in read_slice(plan.path, plan.slices[0])] == ["first"]
