"""`grove cut` and `grove join`, as a user runs them."""

import io
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import typer
from cli_cases import SPEECH, Grove, read_audio, write_audio
from container_cases import SPEC, make_file, make_header, synthetic_codes

from grove.codec.cli.clock import seconds_of
from grove.codec.container.file import ContainerFile
from grove.codec.runtime import Codec

RATE_HZ = 24_000


@pytest.fixture
def grove(
    capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, codec: Codec
) -> Grove:
    return Grove(capsysbinary, monkeypatch, codec)


@pytest.fixture
def coded(grove: Grove, tmp_path: Path) -> Path:
    """Three seconds of speech as tokens."""
    samples, rate_hz = read_audio(SPEECH)
    source = write_audio(
        tmp_path / "speech.wav", np.tile(samples, (4, 1))[10_000 : 10_000 + 3 * rate_hz], rate_hz
    )
    assert grove("encode", source, tmp_path / "speech.grv").code == 0
    return tmp_path / "speech.grv"


def heard(grove: Grove, data: bytes) -> np.ndarray:
    decoded = grove("decode", "-", "-", "--rate", RATE_HZ, stdin=data)
    assert decoded.code == 0
    return read_audio(decoded.out)[0]


def opened(data: bytes) -> ContainerFile:
    file = ContainerFile(io.BytesIO(data))
    assert file.verify() == ()
    return file


def damaged(folder: Path) -> Path:
    """Write a file of three blocks, the second of them damaged."""
    codes, levels = synthetic_codes(SPEC, 1, 12, 6)
    data = bytearray(make_file(make_header(), codes, levels))
    second = data.index(b"\xf5GvB", data.index(b"\xf5GvB") + 1)
    data[second + 20] ^= 1
    path = folder / "damaged.grv"
    path.write_bytes(data)
    return path


def test_a_part_sounds_like_that_part_of_the_whole(grove: Grove, coded: Path) -> None:
    part = grove("cut", coded, "-", "--from", "1.25", "--to", "0:02.1").out
    whole = heard(grove, coded.read_bytes())
    np.testing.assert_array_equal(heard(grove, part), whole[30_000:50_400])


def test_parts_joined_sound_like_the_whole(grove: Grove, coded: Path, tmp_path: Path) -> None:
    assert grove("cut", coded, tmp_path / "a.grv", "--to", "1").code == 0
    assert grove("cut", coded, tmp_path / "b.grv", "--from", "1").code == 0
    joined = grove("join", tmp_path / "a.grv", tmp_path / "b.grv", tmp_path / "ab.grv")
    assert (joined.code, joined.out, joined.err) == (0, b"", "")
    whole = heard(grove, coded.read_bytes())
    np.testing.assert_array_equal(heard(grove, (tmp_path / "ab.grv").read_bytes()), whole)


def test_fewer_levels_are_what_encoding_with_fewer_would_have_made(
    grove: Grove, coded: Path, tmp_path: Path
) -> None:
    assert grove("encode", tmp_path / "speech.wav", tmp_path / "two.grv", "--levels", 2).code == 0
    lowered = grove("cut", coded, "-", "--levels", 2).out
    assert lowered == (tmp_path / "two.grv").read_bytes()
    part = opened(grove("cut", coded, "-", "--levels", 2, "--from", 2).out)
    assert part.sample_count == RATE_HZ
    assert part.frames(0, part.frame_count)[1].max() == 2


def test_an_end_behind_the_end_is_the_end(grove: Grove, coded: Path) -> None:
    part = opened(grove("cut", coded, "-", "--from", 2, "--to", "1:00:00").out)
    assert part.sample_count == RATE_HZ


def test_pipes_carry_the_same_bytes_as_files(grove: Grove, coded: Path, tmp_path: Path) -> None:
    assert grove("cut", coded, tmp_path / "a.grv", "--to", 1).code == 0
    piped = grove("cut", "-", "-", "--to", 1, stdin=coded.read_bytes())
    assert piped.out == (tmp_path / "a.grv").read_bytes()
    assert grove("join", tmp_path / "a.grv", coded, tmp_path / "both.grv").code == 0
    piped = grove("join", tmp_path / "a.grv", "-", "-", stdin=coded.read_bytes())
    assert piped.out == (tmp_path / "both.grv").read_bytes()


@pytest.mark.parametrize("command", ["cut", "join"])
def test_named_pipes_are_read_too(grove: Grove, coded: Path, tmp_path: Path, command: str) -> None:
    bounds = ["--to", 1] if command == "cut" else []
    pipe = tmp_path / "pipe.grv"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(coded.read_bytes(),))
    writer.start()
    piped = grove(command, pipe, "-", *bounds)
    writer.join()
    assert piped.code == 0
    assert piped.out == grove(command, coded, "-", *bounds).out


def test_many_files_are_cut_into_a_folder_and_reported(
    grove: Grove, coded: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.grv", "b.grv"):
        (tmp_path / "in" / name).write_bytes(coded.read_bytes())
    (tmp_path / "in" / "c.grv").write_bytes(b"no container")
    ran = grove("cut", tmp_path / "in", "--out", tmp_path / "cut", "--to", 1, "--json")
    assert ran.code == 2
    files, errors = ran.document["files"], ran.document["errors"]
    assert [Path(one["output"]).name for one in files] == ["a.grv", "b.grv"]
    assert {(one["samples"], one["sample_rate_hz"]) for one in files} == {(RATE_HZ, RATE_HZ)}
    part = opened((tmp_path / "cut" / "a.grv").read_bytes())
    assert files[0]["frames"] == part.frame_count
    assert files[0]["output_bytes"] == (tmp_path / "cut" / "a.grv").stat().st_size
    assert [Path(one["input"]).name for one in errors] == ["c.grv"]


def test_joining_reports_each_file(grove: Grove, coded: Path, tmp_path: Path) -> None:
    document = grove("join", coded, coded, tmp_path / "out.grv", "--json").document
    assert [one["input"] for one in document["inputs"]] == [str(coded)] * 2
    assert (document["samples"], document["errors"]) == (6 * RATE_HZ, [])
    assert document["frames"] == opened((tmp_path / "out.grv").read_bytes()).frame_count


@pytest.mark.parametrize("command", ["cut", "join"])
def test_damage_is_told_and_ends_with_3(grove: Grove, tmp_path: Path, command: str) -> None:
    source, target = damaged(tmp_path), tmp_path / "out.grv"
    bounds = ["--to", "0.2"] if command == "cut" else []
    ran = grove(command, source, target, *bounds)
    assert ran.code == 3
    assert ran.err.startswith(f"warning: {source}: ")
    assert opened(target.read_bytes()).frame_count > 8
    told = grove(command, source, target, "-f", "--json", *bounds)
    inputs = told.document["files" if command == "cut" else "inputs"]
    assert (told.code, len(inputs[0]["damage"])) == (3, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "2", "--to", "1"], "--to is 1 s, expected more than 2 s"),
        (["--from", "3"], "ends at 3.000 s, --from is 3.000 s"),
        (["--from", "1:60"], "'1:60' has 60 seconds, expected below 60"),
        (["--to", "-1"], "'-1' is no time, expected one such as 90, 1:30 or 0:01:30.5"),
        (["--levels", "7"], "level must lie in 0..6, got 7"),
        (["--levels", "7", "--to", "1"], "level must lie in 0..6, got 7"),
        ([], "nothing to cut away"),
    ],
)
def test_what_cannot_be_cut_is_refused_and_leaves_nothing(
    grove: Grove, coded: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    target = tmp_path / "out" / "a.grv"
    target.parent.mkdir()
    ran = grove("cut", coded, target, *arguments)
    assert ran.code == 2
    assert len(ran.error_lines) == 1
    assert message in ran.error_lines[0]
    assert list(target.parent.iterdir()) == []


def test_what_cannot_be_joined_is_refused_and_leaves_nothing(
    grove: Grove, coded: Path, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign.grv"
    foreign.write_bytes(make_file(make_header(), *synthetic_codes(SPEC, 1, 12, 6)))
    out = tmp_path / "out" / "a.grv"
    out.parent.mkdir()
    for names, message in (
        ([coded, foreign, out], f"{foreign} was made by model"),
        ([coded, tmp_path / "none.grv", out], "none.grv: cannot be opened: No such file"),
        ([coded, SPEECH, out], f"{SPEECH}: "),
        ([coded, tmp_path, out], f"{tmp_path}: cannot be opened: Is a directory"),
        (["-", "-", out], "standard input can be read once"),
        ([coded], "got 1 file names, expected inputs and an output"),
        ([coded, coded, out.with_suffix(".wav")], "has the name of an audio file"),
        ([coded, coded, coded], f"{coded}: exists already"),
    ):
        ran = grove("join", *names)
        assert ran.code == 2
        assert len(ran.error_lines) == 1
        assert message in ran.error_lines[0]
        (error,) = grove("join", *names, "--json").document["errors"]
        assert message in error["message"]
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("command", ["cut", "join"])
def test_a_report_and_the_output_do_not_share_stdout(
    grove: Grove, coded: Path, command: str
) -> None:
    bounds = ["--to", 1] if command == "cut" else []
    ran = grove(command, coded, "-", "--json", *bounds)
    assert ran.code == 2
    assert "cannot both go to stdout" in ran.document["errors"][0]["message"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90", 90), ("1.5", 1.5), ("1:30", 90), ("01:05.25", 65.25), ("2:00:01", 7201)],
)
def test_times_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "1:2:3:4", "x", "1e3", "1:75:00", ":30", "1:", "\u0663", "9" * 400, "nan"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        seconds_of(text)
