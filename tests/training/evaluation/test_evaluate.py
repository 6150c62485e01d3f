from pathlib import Path

import numpy as np
import pytest
import soundfile
from evaluation_cases import DELAY_SAMPLES, HOP_SAMPLES, MuLawCodec, speech_like, write_clips

from grove.codec.errors import AudioError, ConfigError
from grove.codec.stream import decode, encode
from grove.training.evaluation import peer_scores
from grove.training.evaluation.clips import find_clips
from grove.training.evaluation.evaluate import Settings, evaluate, exemplars
from grove.training.evaluation.file_coding import decode_clip, encode_clip
from grove.training.evaluation.metrics import si_sdr_db
from grove.training.evaluation.packet_loss import Concealment
from grove.training.evaluation.peer_scores import PeerCache, PeerJob, peer_score
from grove.training.evaluation.peers import Codec2Peer, OpusPeer, Transcoded
from grove.training.evaluation.report import markdown, write_report
from grove.training.evaluation.results import Evaluation

SPEECH = speech_like(1.0)
CODEC = MuLawCodec()


@pytest.fixture(name="clips_dir")
def _clips_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    write_clips(folder)
    return folder


# --- coding whole clips -----------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, HOP_SAMPLES, HOP_SAMPLES + 1, 9_000])
def test_a_decoded_clip_is_in_time_and_as_long_as_the_original(samples: int) -> None:
    clip = SPEECH[2000 : 2000 + samples]
    codes = encode_clip(CODEC, clip)
    np.testing.assert_allclose(decode_clip(CODEC, codes, 2, samples), clip, atol=0.03)


@pytest.mark.parametrize("samples", [1, HOP_SAMPLES, 9_000, 9_000 + HOP_SAMPLES // 2 + 1])
def test_what_is_evaluated_is_what_is_served(samples: int) -> None:
    """Frame for frame and sample for sample, so that no figure is of a stream nobody gets."""
    clip = SPEECH[2000 : 2000 + samples]
    served = encode(CODEC, clip)
    np.testing.assert_array_equal(encode_clip(CODEC, clip), served)
    assert len(served) == CODEC.spec.frames_for(samples)
    for level in (1, 2):
        sound = decode(CODEC, served, samples, level)
        np.testing.assert_array_equal(decode_clip(CODEC, served, level, samples), sound)


def test_fewer_levels_are_worse() -> None:
    codes = encode_clip(CODEC, SPEECH)
    fine, coarse = (si_sdr_db(SPEECH, decode_clip(CODEC, codes, n, len(SPEECH))) for n in (2, 1))
    assert fine > coarse + 10


@pytest.mark.parametrize("concealment", ["zero-level", "silence"])
def test_lost_frames_are_zeros_for_a_codec_without_memory(concealment: Concealment) -> None:
    codes = encode_clip(CODEC, SPEECH)
    lost = np.arange(len(codes)) % 7 == 3
    whole = decode_clip(CODEC, codes, 2, len(SPEECH))
    holed = decode_clip(CODEC, codes, 2, len(SPEECH), lost=lost, concealment=concealment)
    gone = np.repeat(lost, HOP_SAMPLES)[DELAY_SAMPLES:][: len(SPEECH)]
    np.testing.assert_array_equal(holed, np.where(gone, 0, whole))


def test_repeat_plays_the_last_frame_that_came_and_zeros_before_any_did() -> None:
    codes = encode_clip(CODEC, SPEECH)
    lost = np.zeros(len(codes), np.bool_)
    lost[[0, 1, 200, 201]] = True
    repeated = decode_clip(CODEC, codes, 2, len(SPEECH), lost=lost, concealment="repeat")
    meant = codes.copy()
    meant[200:202] = codes[199]
    expected = decode_clip(CODEC, meant, 2, len(SPEECH))
    start = 2 * HOP_SAMPLES - DELAY_SAMPLES
    np.testing.assert_array_equal(repeated[start:], expected[start:])
    assert not repeated[:start].any()


def test_a_clip_whose_frames_are_all_lost_is_silent() -> None:
    codes = encode_clip(CODEC, SPEECH)
    lost = np.ones(len(codes), np.bool_)
    for concealment in ("zero-level", "repeat", "silence"):
        decoded = decode_clip(CODEC, codes, 2, 500, lost=lost, concealment=concealment)
        assert not decoded.any()


# --- clips ------------------------------------------------------------------------------


def test_clips_of_a_manifest_have_its_kinds_and_rates(clips_dir: Path) -> None:
    found = [(clip.file, clip.kind, clip.native_rate_hz) for clip in find_clips(clips_dir)]
    assert found == [
        ("a.wav", "speech", 48000),
        ("b.wav", "speech", 22050),
        ("c.wav", "noise", 44100),
    ]


def test_clips_of_a_plain_folder_take_their_kind_from_the_name(tmp_path: Path) -> None:
    for file in ("music/x.wav", "noise-1.wav", "voice.flac"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / file, np.zeros((160, 2)), 16_000)
    found = {clip.file: (clip.kind, clip.native_rate_hz) for clip in find_clips(tmp_path)}
    kinds = {"music/x.wav": "music", "noise-1.wav": "noise", "voice.flac": "speech"}
    assert found == {file: (kind, 16_000) for file, kind in kinds.items()}
    assert len(find_clips(tmp_path)[0].read()) == 240


def test_a_limit_keeps_the_first_clips_of_each_kind(clips_dir: Path) -> None:
    assert [clip.file for clip in find_clips(clips_dir, limit=1)] == ["a.wav", "c.wav"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("gone.wav,speech,16000", "'gone.wav', which is not in"),
        ("a.wav,opera,16000", "of kind 'opera'"),
        ("a.wav,speech,16k", "native_rate '16k'"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused(clips_dir: Path, row: str, message: str) -> None:
    (clips_dir / "manifest.csv").write_text(f"file,kind,native_rate\n{row}\n")
    with pytest.raises(AudioError, match=message):
        find_clips(clips_dir)


def test_a_folder_without_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no audio files"):
        find_clips(tmp_path)


# --- end to end -------------------------------------------------------------------------


def run(clips_dir: Path, workers: int = 1, **changes: object) -> Evaluation:
    settings = Settings(
        loss_rates=(0.0, 0.2), peers=(), workers=workers, exemplars_per_kind=1
    ).model_copy(update=changes)
    return evaluate(CODEC, find_clips(clips_dir), settings, PeerCache(clips_dir / "cache"))


def test_every_level_loss_and_concealment_is_scored_on_every_group(clips_dir: Path) -> None:
    found = run(clips_dir)
    speech = [row for row in found.rows if row.group == "speech"]
    assert len(speech) == 2 * (1 + 3)
    assert {row.clips for row in speech} == {2}
    assert {(row.group, row.clips) for row in found.rows if row.group != "speech"} == {
        ("speech ≥ 24 kHz", 1),
        ("speech < 24 kHz", 1),
        ("noise", 1),
    }
    noise = [row for row in found.rows if row.group == "noise"]
    assert {row.condition.loss_rate for row in noise} == {0.0}
    assert {(row.pesq_wb.mean, row.pesq_wb.missing) for row in noise} == {(None, 0)}


def test_means_and_rates_are_those_of_the_clips(clips_dir: Path) -> None:
    found = run(clips_dir)
    row = found.select("speech", loss_free=True)[0]
    mine = [one for one in found.clip_scores if one.condition == row.condition]
    stois = [one.scores.stoi for one in mine if one.kind == "speech"]
    assert row.stoi.mean == pytest.approx(np.mean(stois))
    assert row.kbps == pytest.approx(24 * 4)
    lossy = found.select("speech", loss_free=False)
    assert all(0.1 < one.lost_share < 0.3 for one in lossy)


def test_a_clip_without_a_pesq_is_counted_as_missing_and_left_out_of_the_mean(
    clips_dir: Path,
) -> None:
    soundfile.write(clips_dir / "b.wav", np.zeros(12_000), 24_000)
    row = run(clips_dir).select("speech", loss_free=True)[0]
    assert (row.clips, row.pesq_wb.missing, row.stoi.missing) == (2, 1, 1)
    assert row.pesq_wb.mean > 1
    assert "†1" in markdown(run(clips_dir))


def test_worker_processes_find_the_same_figures(clips_dir: Path) -> None:
    alone = run(clips_dir, levels=(2,), loss_rates=())
    assert run(clips_dir, workers=2, levels=(2,), loss_rates=()) == alone


def test_a_level_that_the_codec_lacks_is_refused(clips_dir: Path) -> None:
    with pytest.raises(ConfigError, match=r"level 3 is outside 1\.\.2"):
        run(clips_dir, levels=(3,))


def test_nothing_to_evaluate_is_refused(clips_dir: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to evaluate"):
        evaluate(None, find_clips(clips_dir), Settings(peers=()), PeerCache(clips_dir))


def test_the_report_has_tables_json_pictures_and_sounds(clips_dir: Path, tmp_path: Path) -> None:
    found = run(clips_dir)
    settings = Settings(exemplars_per_kind=1)
    write_report(found, exemplars(CODEC, find_clips(clips_dir), settings), tmp_path / "out")
    assert Evaluation.model_validate_json((tmp_path / "out/evaluation.json").read_text()) == found
    text = (tmp_path / "out/evaluation.md").read_text()
    best = found.select("speech", loss_free=True)[-1]
    assert f"| mu-law level 2 | 192.0 | {best.p808.mean:.2f} | {best.speaker.mean:.2f} |" in text
    for heading in (
        "Speech (2 clips)",
        "Noise (1 clips)",
        "Where the bits go",
        "with packets lost",
        "Codebooks",
    ):
        assert heading in text
    page = (tmp_path / "out/index.html").read_text()
    files = ["rate-quality.png", "loss.png", "spectrogram-a.png", "spectrogram-c.png"]
    for file in [*files, "samples/a-original.flac", "samples/c-level-1.flac"]:
        assert f'src="{file}"' in page
        assert (tmp_path / "out" / file).stat().st_size > 500


def test_an_absent_peer_is_named_and_has_no_row(
    clips_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(clips_dir))
    found = run(clips_dir, levels=(2,), loss_rates=(), peers=(OpusPeer(bitrate_kbps=6),))
    assert [peer.name for peer in found.absent_peers] == ["Opus 6k"]
    assert {row.condition.system for row in found.rows} == {"mu-law"}
    assert "Opus 6k is absent: opusenc, opusdec not found" in markdown(found)


def test_a_peer_runs_once_per_clip_and_setting(
    clips_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[str] = []

    def transcode(peer: OpusPeer, samples: np.ndarray, lost: list[bool]) -> Transcoded:
        runs.append(f"{peer.name} {sum(lost) > 0}")
        return Transcoded(samples, 6.5)

    monkeypatch.setattr(peer_scores, "transcode", transcode)
    cache, clip = PeerCache(clips_dir / "cache"), find_clips(clips_dir)[0]
    jobs = [
        PeerJob(OpusPeer(bitrate_kbps=kbps), clip, rate, 0) for kbps in (6, 8) for rate in (0, 0.2)
    ]
    first = [peer_score(job, cache) for job in jobs]
    assert [peer_score(job, cache) for job in jobs] == first
    assert runs == ["Opus 6k False", "Opus 6k True", "Opus 8k False", "Opus 8k True"]
    soundfile.write(clip.path, speech_like(1.2, 8), 24_000)
    peer_score(jobs[0], cache)
    assert len(runs) == 5


def test_only_a_peer_that_can_lose_packets_is_asked_to(clips_dir: Path) -> None:
    speech, _, noise = find_clips(clips_dir)

    def rates(peer: OpusPeer | Codec2Peer, clip: object) -> list[float]:
        return [job.loss_rate for job in peer_scores.jobs_of(peer, clip, (0.0, 0.1), 0)]

    assert rates(OpusPeer(bitrate_kbps=6), speech) == [0.0, 0.1]
    assert rates(OpusPeer(bitrate_kbps=6), noise) == [0.0]
    assert rates(Codec2Peer(bitrate_bps=1200), speech) == [0.0]
