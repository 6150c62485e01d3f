"""The commands about files, as a user runs them."""

import json
from pathlib import Path

import numpy as np
import pytest
from cli_cases import SPEECH, Grove, flac_claiming, read_audio, write_audio

from grove.codec.bundle import shipped_bundles
from grove.codec.cli import commands as cli
from grove.codec.container.file import ContainerFile
from grove.codec.runtime import Codec


@pytest.fixture
def grove(
    capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, codec: Codec
) -> Grove:
    return Grove(capsysbinary, monkeypatch, codec)


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """A second of speech, of a length that is no multiple of anything."""
    samples, rate_hz = read_audio(SPEECH)
    return write_audio(tmp_path / "speech.wav", samples[10_000:34_567], rate_hz)


def tokens_of(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with path.open("rb") as file:
        container = ContainerFile(file)
        assert container.verify() == ()
        return container.frames(0, container.frame_count)


@pytest.mark.parametrize("folder", shipped_bundles(), ids=lambda path: path.name)
def test_tokens_of_any_shipped_model_are_decoded_by_it_unasked(
    folder: Path, speech: Path, tmp_path: Path
) -> None:
    coded = tmp_path / "a.grv"
    assert cli.main(["encode", str(speech), str(coded), "--model", folder.name]) == 0
    assert cli.main(["decode", str(coded), str(tmp_path / "unasked.wav")]) == 0
    named = ["decode", str(coded), str(tmp_path / "named.wav"), "--model", folder.name]
    assert cli.main(named) == 0
    assert (tmp_path / "unasked.wav").read_bytes() == (tmp_path / "named.wav").read_bytes()


@pytest.mark.parametrize(
    "original",
    [
        ("a.wav", 44_100, 2, "PCM_16"),
        ("a.wav", 8_000, 1, "PCM_U8"),
        ("a.wav", 96_000, 8, "PCM_24"),
        ("a.wav", 192_000, 1, "FLOAT"),
        ("a.flac", 16_000, 1, "PCM_16"),
        ("a.ogg", 48_000, 2, "VORBIS"),
        ("a.mp3", 22_050, 1, "MPEG_LAYER_III"),
    ],
)
def test_decoding_restores_the_rate_and_the_exact_sample_count(
    grove: Grove, tmp_path: Path, original: tuple[str, int, int, str]
) -> None:
    name, rate_hz, channels, subtype = original
    tone = 0.2 * np.sin(np.arange(30_011)[:, None] * np.ones(channels) * 0.05)
    source = write_audio(tmp_path / name, tone.astype(np.float32), rate_hz, subtype)
    samples_in, _ = read_audio(source)
    assert grove("encode", source, tmp_path / "a.grv").code == 0
    assert grove("decode", tmp_path / "a.grv", tmp_path / "back.wav").code == 0
    samples_out, rate_out_hz = read_audio(tmp_path / "back.wav")
    assert rate_out_hz == rate_hz
    assert samples_out.shape == (len(samples_in), 1)


def test_pipes_carry_the_same_bytes_as_files(grove: Grove, speech: Path, tmp_path: Path) -> None:
    coded, back = tmp_path / "a.grv", tmp_path / "a.wav"
    assert grove("encode", speech, coded, "--levels", "3").code == 0
    assert grove("decode", coded, back).code == 0
    piped = grove("encode", "-", "-", "--levels", "3", stdin=speech.read_bytes())
    assert (piped.code, piped.err) == (0, "")
    assert piped.out == coded.read_bytes()
    heard = grove("decode", "-", "-", stdin=piped.out)
    assert (heard.code, heard.err) == (0, "")
    np.testing.assert_array_equal(read_audio(heard.out)[0], read_audio(back)[0])


def test_transcoding_is_encoding_and_decoding(grove: Grove, speech: Path, tmp_path: Path) -> None:
    at_44k = write_audio(tmp_path / "44k.wav", read_audio(speech)[0], 44_100)
    assert grove("encode", at_44k, tmp_path / "a.grv", "--levels", "2").code == 0
    assert grove("decode", tmp_path / "a.grv", tmp_path / "a.wav").code == 0
    assert grove("transcode", at_44k, tmp_path / "b.wav", "--levels", "2").code == 0
    assert (tmp_path / "b.wav").read_bytes() == (tmp_path / "a.wav").read_bytes()


def test_decoding_fewer_levels_is_decoding_a_lower_bitrate(
    grove: Grove, speech: Path, tmp_path: Path
) -> None:
    for levels in (2, 6):
        assert grove("encode", speech, tmp_path / f"{levels}.grv", "--levels", levels).code == 0
    assert grove("decode", tmp_path / "6.grv", tmp_path / "a.wav", "--levels", "2").code == 0
    assert grove("decode", tmp_path / "2.grv", tmp_path / "b.wav").code == 0
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    assert grove("decode", tmp_path / "6.grv", tmp_path / "c.wav").code == 0
    assert (tmp_path / "c.wav").read_bytes() != (tmp_path / "b.wav").read_bytes()


@pytest.mark.parametrize("rate_hz", [8_000, 24_000, 48_000])
def test_decoding_to_another_rate_keeps_the_duration(
    grove: Grove, speech: Path, tmp_path: Path, rate_hz: int
) -> None:
    at_44k = write_audio(tmp_path / "44k.wav", read_audio(speech)[0], 44_100)
    assert grove("encode", at_44k, tmp_path / "a.grv").code == 0
    ran = grove("decode", tmp_path / "a.grv", tmp_path / "a.flac", "--rate", rate_hz, "--json")
    samples, rate_out_hz = read_audio(tmp_path / "a.flac")
    assert rate_out_hz == rate_hz
    assert len(samples) == -(-24_567 * rate_hz // 44_100)
    assert ran.document["files"][0]["samples"] == len(samples)


def test_stereo_is_two_streams_each_coded_as_if_alone(
    grove: Grove, speech: Path, tmp_path: Path
) -> None:
    left = read_audio(speech)[0]
    right = left[::-1] * np.float32(0.5)
    for name, samples in (("l", left), ("r", right), ("both", np.hstack((left, right)))):
        source = write_audio(tmp_path / f"{name}.wav", samples, subtype="FLOAT")
        assert grove("encode", source, tmp_path / f"{name}.grv", "--stereo").code == 0
    codes, _ = tokens_of(tmp_path / "both.grv")
    np.testing.assert_array_equal(codes[0], tokens_of(tmp_path / "l.grv")[0][0])
    np.testing.assert_array_equal(codes[1], tokens_of(tmp_path / "r.grv")[0][0])
    assert grove("decode", tmp_path / "both.grv", tmp_path / "back.wav").code == 0
    assert read_audio(tmp_path / "back.wav")[0].shape == (len(left), 2)


def test_stereo_is_mixed_down_unless_asked_for(grove: Grove, speech: Path, tmp_path: Path) -> None:
    mono = read_audio(speech)[0]
    both = write_audio(tmp_path / "b.wav", np.hstack((mono, mono)))
    assert grove("encode", speech, tmp_path / "a.grv").code == 0
    assert grove("encode", both, tmp_path / "b.grv").code == 0
    codes, levels = tokens_of(tmp_path / "b.grv")
    assert codes.shape[0] == 1
    assert set(levels.ravel()) == {6}
    np.testing.assert_array_equal(codes, tokens_of(tmp_path / "a.grv")[0])


def test_folders_globs_and_files_go_into_the_output_folder(
    grove: Grove, speech: Path, tmp_path: Path
) -> None:
    tree = tmp_path / "tree" / "deep"
    tree.mkdir(parents=True)
    samples = read_audio(speech)[0][:2_000]
    for name in ("tree/a.wav", "tree/deep/b.flac", "x1.wav", "x2.wav"):
        write_audio(tmp_path / name, samples)
    (tree / "notes.txt").write_text("not audio")
    out = tmp_path / "out"
    ran = grove("encode", tmp_path / "tree", tmp_path / "x*.wav", speech, "--out", out, "--json")
    assert ran.code == 0
    names = ["a.grv", "deep/b.grv", "speech.grv", "x1.grv", "x2.grv"]
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.grv")) == names
    assert [len(ran.document["files"]), ran.document["errors"]] == [5, []]
    back = tmp_path / "back"
    assert grove("decode", out, "--out", back, "--format", "flac").code == 0
    assert len(read_audio(back / "deep" / "b.flac")[0]) == 2_000


def test_two_inputs_for_one_output_are_refused_before_any_work(
    grove: Grove, speech: Path, tmp_path: Path
) -> None:
    write_audio(tmp_path / "speech.flac", read_audio(speech)[0])
    ran = grove("encode", speech, tmp_path / "speech.flac", "--out", tmp_path / "out")
    assert ran.code == 2
    assert "would both become" in ran.err
    assert not (tmp_path / "out").exists()


def test_a_bad_file_among_many_does_not_stop_the_others(
    grove: Grove, speech: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.wav").write_text("not audio at all, whatever its name says")
    out = tmp_path / "out"
    ran = grove("encode", tmp_path / "bad.wav", speech, "--out", out)
    assert ran.code == 2
    assert len(ran.error_lines) == 1
    assert [path.name for path in out.iterdir()] == ["speech.grv"]
    again = grove("encode", tmp_path / "bad.wav", speech, "--out", out, "--force", "--json")
    assert [error["input"] for error in again.document["errors"]] == [str(tmp_path / "bad.wav")]
    assert [file["input"] for file in again.document["files"]] == [str(speech)]


def test_nothing_is_replaced_without_force(grove: Grove, speech: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.grv"
    target.write_bytes(b"precious")
    ran = grove("encode", speech, target)
    assert ran.code == 2
    assert (
        ran.err == f"error: {speech}: {target}: exists already\nhint: add --force to replace it\n"
    )
    assert target.read_bytes() == b"precious"
    assert grove("encode", speech, target, "--force").code == 0
    assert tokens_of(target)[0].shape[1] == 52


def test_tokens_are_not_written_over_a_second_audio_file(
    grove: Grove, speech: Path, tmp_path: Path
) -> None:
    other = write_audio(tmp_path / "other.wav", read_audio(speech)[0])
    before = other.read_bytes()
    ran = grove("encode", speech, other, "--force")
    assert ran.code == 2
    assert "hint: name a folder with --out" in ran.err
    assert other.read_bytes() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("bogus",),
        ("encode",),
        ("encode", "a.wav"),
        ("encode", "a.wav", "b.grv", "c.grv"),
        ("encode", "a.wav", "b.grv", "--levels", "many"),
        ("encode", "a.wav", "b.grv", "--threads", "0"),
        ("encode", "no-such-*.wav", "--out", "out"),
        ("encode", "-", "--out", "out"),
        ("decode", "a.grv", "b.xyz"),
        ("decode", "a.grv", "b.wav", "--format", "aac"),
        ("info", "no-such-file.grv"),
        ("info", "no-such-model"),
        ("export", "checkpoint.pt", "no-version", "--clip", "a.wav", "--description", "x"),
    ],
)
def test_wrong_usage_is_one_line_or_one_document(
    grove: Grove, arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = grove(*arguments)
    assert (ran.code, ran.out) == (2, b"")
    assert len(ran.error_lines) == 1
    assert all(line.startswith(("error: ", "hint: ")) for line in ran.err.splitlines())
    if arguments[0] != "export":
        ran = grove(*arguments, "--json")
        assert (ran.code, ran.err) == (2, "")
        assert ran.document["errors"][0]["message"]
    assert list(tmp_path.iterdir()) == []


def test_a_report_and_an_output_cannot_share_stdout(grove: Grove, speech: Path) -> None:
    ran = grove("encode", speech, "-", "--json")
    assert (ran.code, ran.err) == (2, "")
    assert "cannot both go to stdout" in ran.document["errors"][0]["message"]


@pytest.mark.parametrize("levels", [0, 7, -1])
def test_levels_that_the_model_lacks_are_refused_with_those_it_has(
    grove: Grove, speech: Path, tmp_path: Path, levels: int
) -> None:
    ran = grove("encode", speech, tmp_path / "a.grv", "--levels", levels)
    assert ran.code == 2
    assert f"levels is {levels}, expected 1 to 6 for grove-24k" in ran.err
    assert not (tmp_path / "a.grv").exists()


def test_info_tells_what_a_container_holds(grove: Grove, speech: Path, tmp_path: Path) -> None:
    assert grove("encode", speech, tmp_path / "a.grv", "--levels", "3").code == 0
    ran = grove("info", tmp_path / "a.grv", "--json")
    assert ran.code == 0
    info = ran.document
    assert (info["kind"], info["source_samples"], info["channels"]) == ("container", 24_567, 1)
    assert info["frames_at_level"] == [0, 0, 0, 52, 0, 0, 0]
    assert info["payload_kbps"] == pytest.approx(52 * 60 / (24_567 / 24_000) / 1000)
    assert info["damage"] == []
    piped = grove("info", "-", "--json", stdin=(tmp_path / "a.grv").read_bytes())
    assert piped.document == info | {"input": "<stdin>"}
    assert b"24567 samples" in grove("info", tmp_path / "a.grv").out


def test_info_tells_what_a_bundle_is(grove: Grove, codec: Codec) -> None:
    by_name, by_folder = grove("info", "grove-24k", "--json"), grove("info", codec.bundle.path)
    assert grove("info", codec.bundle.path.name, "--json").document == by_name.document
    assert by_name.document["codec"]["model_sha256"] == codec.spec.model_sha256
    assert by_name.document["bitrates_bps"] == [1000, 2000, 3000, 4000, 5000, 6000]
    assert codec.spec.model_sha256[:16].encode() in by_folder.out


def test_info_tells_what_an_audio_file_is(grove: Grove, speech: Path) -> None:
    ran = grove("info", speech, "--json")
    assert (ran.code, ran.document["kind"]) == (0, "audio")
    assert (ran.document["sample_rate_hz"], ran.document["declared_samples"]) == (24_000, 24_567)


def test_a_damaged_container_is_decoded_as_far_as_it_goes_and_says_so(
    grove: Grove, tmp_path: Path
) -> None:
    coded = tmp_path / "a.grv"
    assert grove("encode", SPEECH, coded).code == 0
    whole = read_audio(SPEECH)[0]
    data = bytearray(coded.read_bytes())
    data[len(data) // 2] ^= 0x10
    (tmp_path / "flipped.grv").write_bytes(data)
    ran = grove("decode", tmp_path / "flipped.grv", tmp_path / "flipped.wav")
    assert ran.code == 3
    assert ran.err.startswith(f"warning: {tmp_path / 'flipped.grv'}: checksum: the block at byte")
    assert len(read_audio(tmp_path / "flipped.wav")[0]) == len(whole)
    assert grove("info", tmp_path / "flipped.grv").code == 3


def test_a_container_cut_short_is_decoded_up_to_its_last_whole_block(
    grove: Grove, tmp_path: Path
) -> None:
    coded = tmp_path / "a.grv"
    assert grove("encode", SPEECH, coded).code == 0
    cut = coded.read_bytes()[: len(coded.read_bytes()) * 19 // 20]
    (tmp_path / "cut.grv").write_bytes(cut)
    ran = grove("decode", tmp_path / "cut.grv", tmp_path / "cut.wav", "--json")
    assert ran.code == 3
    assert any("unfinished" in line for line in ran.document["files"][0]["damage"])
    assert len(read_audio(tmp_path / "cut.wav")[0]) == 100 * 480 - 240
    piped = grove("decode", "-", "-", stdin=cut)
    assert piped.code == 3
    np.testing.assert_array_equal(read_audio(piped.out)[0], read_audio(tmp_path / "cut.wav")[0])


def test_truncated_audio_is_used_only_when_allowed(
    grove: Grove, speech: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.wav"
    cut.write_bytes(speech.read_bytes()[:-9_998])
    ran = grove("encode", cut, tmp_path / "a.grv")
    assert ran.code == 2
    assert ran.err.endswith("hint: add --allow-truncated to use what is there\n")
    assert not (tmp_path / "a.grv").exists()
    allowed = grove("encode", cut, tmp_path / "a.grv", "--allow-truncated", "--json")
    assert allowed.code == 3
    assert allowed.document["files"][0]["samples"] == 24_567 - 9_998 // 2
    assert "is truncated" in allowed.document["files"][0]["damage"][0]


def test_a_flac_that_claims_more_than_it_has_gives_what_is_there_when_allowed(
    grove: Grove, tmp_path: Path
) -> None:
    (tmp_path / "a.flac").write_bytes(flac_claiming(2_500))
    ran = grove("encode", tmp_path / "a.flac", tmp_path / "a.grv", "--allow-truncated", "--json")
    assert ran.code == 3
    assert ran.document["files"][0]["samples"] == 2_400


@pytest.mark.parametrize("file_format", ["flac", "ogg", "raw"])
def test_a_pipe_can_carry_other_formats(
    grove: Grove, speech: Path, tmp_path: Path, file_format: str
) -> None:
    assert grove("encode", speech, tmp_path / "a.grv").code == 0
    ran = grove("decode", tmp_path / "a.grv", "-", "--format", file_format)
    assert ran.code == 0
    assert grove("decode", tmp_path / "a.grv", tmp_path / "a.wav").code == 0
    if file_format == "raw":
        assert ran.out == (tmp_path / "a.wav").read_bytes()[44:]
    else:
        assert len(read_audio(ran.out)[0]) == 24_567


def test_the_version_and_help_are_printed(grove: Grove) -> None:
    assert grove("--version").out.startswith(b"grove ")
    listed = grove().out
    for command in ("encode", "decode", "transcode", "info", "bench", "serve", "train"):
        assert command.encode() in listed


def test_json_is_one_document_on_one_line(grove: Grove, speech: Path, tmp_path: Path) -> None:
    ran = grove("encode", speech, tmp_path / "ä\n.grv", "--json")
    assert ran.code == 0
    assert ran.out.count(b"\n") == 1
    assert json.loads(ran.out)["files"][0]["output_bytes"] == (tmp_path / "ä\n.grv").stat().st_size


def test_a_link_that_leads_nowhere_is_reported_and_the_others_are_done(
    grove: Grove, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good.flac").symlink_to(SPEECH)
    (folder / "lost.wav").symlink_to(tmp_path / "nowhere.wav")
    ran = grove("encode", folder, "--out", tmp_path / "out")
    assert ran.code == 2
    assert len(ran.error_lines) == 1
    assert "lost.wav" in ran.error_lines[0]
    assert (tmp_path / "out" / "good.grv").is_file()
