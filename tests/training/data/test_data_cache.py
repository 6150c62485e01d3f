"""The cache: what goes in comes out, what is bad is listed, what is stale is rebuilt."""

import io
import logging
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from grove.codec.arrays import F32
from grove.training.data.cache import AudioCache, build_cache, open_cache, read_bad_files
from grove.training.data.decode import BadFile, Decoded, Recording, decode
from grove.training.data.manifest import DataError

RATE_HZ = 24_000


def tone(seconds: float, rate_hz: int = RATE_HZ, hertz: float = 440.0) -> F32:
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def wav_bytes(samples: F32, rate_hz: int = RATE_HZ) -> bytes:
    file = io.BytesIO()
    sf.write(file, samples, rate_hz, format="WAV", subtype="FLOAT")
    return file.getvalue()


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    for number in range(4):
        name = folder / f"speech/words/speaker{number}/a.wav"
        put(name, wav_bytes(tone(0.5 + 0.1 * number, hertz=200.0 + number)))
    put(folder / "music/band/song.wav", wav_bytes(tone(1.0)))
    return folder


def pack(corpus: Path, tar: Path, mode: str = "w") -> None:
    with tarfile.open(tar, mode) as file:  # type: ignore[call-overload]
        for path in sorted(corpus.rglob("*.wav")):
            file.add(path, path.relative_to(corpus).as_posix())


def test_samples_at_the_cache_rate_come_back_to_the_bit(tmp_path: Path) -> None:
    samples = np.arange(-32_768, 32_768, dtype=np.int16)
    (tmp_path / "in").mkdir()
    sf.write(tmp_path / "in/a.wav", samples, RATE_HZ, subtype="PCM_16")
    cache = build_cache(tmp_path / "in", tmp_path / "cache", RATE_HZ)
    assert np.array_equal(cache.samples, samples)
    assert np.array_equal(cache.read(0, 3, 70_000), samples[3:].astype(np.float32) / 32_768)


def test_other_rates_and_channels_become_mono_at_the_cache_rate(tmp_path: Path) -> None:
    stereo = np.stack([tone(1.0, 44_100), np.zeros(44_100, np.float32)], axis=1)
    put(tmp_path / "in/a.wav", wav_bytes(stereo, 44_100))
    cache = build_cache(tmp_path / "in", tmp_path / "cache", RATE_HZ)
    assert cache.index.length.tolist() == [RATE_HZ]
    assert cache.index.native_rate.tolist() == [44_100]
    expected = tone(1.0) / 2
    assert np.abs(cache.read(0, 0, RATE_HZ) - expected)[100:-100].max() < 1e-3


def test_overshoot_is_clipped_not_wrapped(tmp_path: Path) -> None:
    put(tmp_path / "in/a.wav", wav_bytes(np.array([1.1, -1.1, 0.5], np.float32)))
    cache = build_cache(tmp_path / "in", tmp_path / "cache", RATE_HZ)
    assert cache.samples.tolist() == [32_767, -32_768, 16_384]


def test_blocks_of_a_long_file_join_without_a_seam(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "in/a.wav", wav_bytes(tone(2.0, 16_000), 16_000))
    whole = np.array(build_cache(tmp_path / "in", tmp_path / "one", RATE_HZ).samples)
    monkeypatch.setattr("grove.training.data.decode._BLOCK_FRAMES", 1_000)
    parts = np.array(build_cache(tmp_path / "in", tmp_path / "many", RATE_HZ).samples)
    assert len(parts) == 2 * RATE_HZ
    assert np.array_equal(whole, parts)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_tar_shards_give_the_same_cache_as_their_files(
    mode: str, corpus: Path, tmp_path: Path
) -> None:
    suffix = ".tar.gz" if mode == "w:gz" else ".tar"
    pack(corpus, tmp_path / f"all{suffix}", mode)
    loose = build_cache(corpus, tmp_path / "loose", RATE_HZ)
    packed = build_cache(tmp_path / f"all{suffix}", tmp_path / "packed", RATE_HZ)
    assert np.array_equal(loose.samples, packed.samples)
    assert loose.index.speaker_keys() == packed.index.speaker_keys()
    assert loose.index.file.tolist() == packed.index.file.tolist()


def test_threads_do_not_change_the_cache(corpus: Path, tmp_path: Path) -> None:
    one = build_cache(corpus, tmp_path / "one", RATE_HZ)
    four = build_cache(corpus, tmp_path / "four", RATE_HZ, workers=4)
    assert np.array_equal(one.samples, four.samples)
    assert one.index.file.tolist() == four.index.file.tolist()


def test_bad_files_are_listed_with_the_reason_and_the_rest_is_kept(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(corpus / "bad/empty.wav", b"")
    put(corpus / "bad/text.flac", b"this is not audio")
    put(corpus / "bad/none.wav", wav_bytes(np.zeros(0, np.float32)))
    put(corpus / "bad/silent.wav", wav_bytes(np.zeros(2_400, np.float32)))
    put(corpus / "bad/nan.wav", wav_bytes(np.array([0.1, np.nan], np.float32)))
    cache = build_cache(corpus, tmp_path / "cache", RATE_HZ)
    reasons = {line.file: line.reason for line in read_bad_files(cache.bad_files_path)}
    assert sorted(reasons) == [
        f"bad/{name}" for name in ("empty.wav", "nan.wav", "none.wav", "silent.wav", "text.flac")
    ]
    assert all(reasons.values())
    assert reasons["bad/nan.wav"] == "holds samples that are not finite"
    assert reasons["bad/silent.wav"] == "holds 0.10 s of digital silence"
    assert reasons["bad/none.wav"] == "holds no samples"
    assert len(cache.index) == 5
    assert cache.header.bad_files == 5
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == [f"left out 5 bad files, listed in {cache.bad_files_path}"]


def test_a_manifest_is_checked_against_its_shards(corpus: Path, tmp_path: Path) -> None:
    pack(corpus, tmp_path / "one.tar")
    cut = (tmp_path / "one.tar").read_bytes()[:150_000]
    (tmp_path / "cut.tar").write_bytes(cut)
    (tmp_path / "list.csv").write_text(
        "file,seconds,shard\n"
        "music/band/song.wav,1.0,one.tar\n"
        "speech/words/speaker0/a.wav,9.0,one.tar\n"
        "speech/none.wav,1.0,one.tar\n"
        "speech/words/speaker3/a.wav,0.8,cut.tar\n"
        "gone.wav,1,gone.tar\n"
        "loose.wav,1,\n",
        encoding="utf-8",
    )
    cache = build_cache(tmp_path / "list.csv", tmp_path / "cache", RATE_HZ)
    assert cache.index.file.tolist() == ["music/band/song.wav"]
    reasons = {line.file: line.reason for line in read_bad_files(cache.bad_files_path)}
    assert reasons["speech/words/speaker0/a.wav"] == "has 0.50 s, the manifest says 9.00 s"
    assert reasons["speech/none.wav"] == "one.tar: is not in the tar"
    assert "cut.tar: the tar is damaged" in reasons["speech/words/speaker3/a.wav"]
    assert "gone.tar: the tar is damaged or missing" in reasons["gone.wav"]
    assert len(reasons) == 5


def test_a_damaged_tar_without_a_manifest_is_listed_itself(corpus: Path, tmp_path: Path) -> None:
    (corpus / "cut.tar").write_bytes(b"\x01" * 5_000)
    cache = build_cache(corpus, tmp_path / "cache", RATE_HZ)
    assert [line.file for line in read_bad_files(cache.bad_files_path)] == ["cut.tar"]
    assert len(cache.index) == 5


def test_a_fresh_cache_is_opened_and_a_stale_one_rebuilt(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def modified_ns(cache: AudioCache) -> int:
        return (cache.path / "samples.i16").stat().st_mtime_ns

    first = build_cache(corpus, tmp_path / "cache", RATE_HZ)
    again = build_cache(corpus, tmp_path / "cache", RATE_HZ)
    assert modified_ns(again) == modified_ns(first)
    assert again.header == first.header
    assert "rebuilding" not in caplog.text
    put(corpus / "music/band/more.wav", wav_bytes(tone(0.3)))
    stale = np.array(first.samples)
    rebuilt = build_cache(corpus, tmp_path / "cache", RATE_HZ)
    assert rebuilt.header.files == first.header.files + 1
    assert rebuilt.header.key != first.header.key
    assert "is of other files or another rate, rebuilding" in caplog.text
    # A run that still reads the old cache is not disturbed.
    assert np.array_equal(first.samples, stale)


def test_a_killed_build_leaves_no_cache_and_is_started_again(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("grove.training.data.cache._finish", die)
        with pytest.raises(KeyboardInterrupt):
            build_cache(corpus, tmp_path / "cache", RATE_HZ)
    with pytest.raises(DataError, match="is not an audio cache"):
        open_cache(tmp_path / "cache")
    assert len(build_cache(corpus, tmp_path / "cache", RATE_HZ).index) == 5
    assert not (tmp_path / "cache.partial").exists()


def test_a_folder_that_is_no_cache_is_never_deleted(corpus: Path, tmp_path: Path) -> None:
    put(tmp_path / "mine/thesis.txt", b"years of work")
    with pytest.raises(DataError, match="exists and is not an audio cache"):
        build_cache(corpus, tmp_path / "mine", RATE_HZ)
    assert (tmp_path / "mine/thesis.txt").read_bytes() == b"years of work"


@pytest.mark.parametrize("name", ["samples.i16", "index.npz"])
def test_a_damaged_cache_is_refused(name: str, corpus: Path, tmp_path: Path) -> None:
    build_cache(corpus, tmp_path / "cache", RATE_HZ)
    damaged = tmp_path / "cache" / name
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"audio cache .*cache (is damaged|holds)") as caught:
        open_cache(tmp_path / "cache")
    assert caught.value.hint == "delete the folder to rebuild it"


def test_only_bad_files_make_no_cache(tmp_path: Path) -> None:
    put(tmp_path / "in/a.wav", b"noise")
    with pytest.raises(DataError, match=r"none of 1 recordings .* the first: a.wav: "):
        build_cache(tmp_path / "in", tmp_path / "cache", RATE_HZ)


def test_two_builders_at_once_decode_once(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []

    def spy(recording: Recording, sample_rate_hz: int) -> Decoded | BadFile:
        decoded.append(recording.entry.file)
        return decode(recording, sample_rate_hz)

    monkeypatch.setattr("grove.training.data.cache.decode", spy)
    # Locks belong to open files, so two threads exclude each other as two processes do.
    with ThreadPoolExecutor(2) as pool:
        builds = [pool.submit(build_cache, corpus, tmp_path / "cache", RATE_HZ) for _ in range(2)]
    assert [len(build.result().index) for build in builds] == [5, 5]
    assert len(decoded) == 5


def test_ranks_with_shards_of_their_own_cover_the_data_once(corpus: Path, tmp_path: Path) -> None:
    pack(corpus, corpus / "more.tar")
    ranks = [
        build_cache(corpus, tmp_path / f"rank-{rank}", RATE_HZ, rank=rank, world=2)
        for rank in (0, 1)
    ]
    files = sorted(file for cache in ranks for file in cache.index.file.tolist())
    alone = build_cache(corpus, tmp_path / "alone", RATE_HZ)
    assert files == sorted(alone.index.file.tolist())
    assert len(files) == 10
    assert all(len(cache.index) for cache in ranks)


def test_opening_needs_no_recordings(corpus: Path, tmp_path: Path) -> None:
    built = build_cache(corpus, tmp_path / "cache", RATE_HZ)
    shutil.rmtree(corpus)
    opened = open_cache(tmp_path / "cache")
    assert np.array_equal(opened.samples, built.samples)
    assert np.array_equal(opened.held_out, built.held_out)
