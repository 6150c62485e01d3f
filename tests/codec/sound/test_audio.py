import io
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_cases import (
    COMPRESSED,
    RATE_HZ,
    WAV_SUBTYPES,
    decoded,
    pipe,
    read,
    sound_file,
    tone,
)

from grove.codec.errors import AudioError
from grove.codec.sound.source import AudioLimits, RawFormat, open_audio

FIXTURES = Path(__file__).parents[2] / "fixtures"
LENGTH = 150_001


def _wav(data: bytes, size: int | None = None, riff: int | None = None, channels: int = 1) -> bytes:
    fmt = struct.pack("<HHIIHH", 1, channels, RATE_HZ, RATE_HZ * 2 * channels, 2 * channels, 16)
    size = len(data) if size is None else size
    riff = 36 + size if riff is None else riff
    head = struct.pack("<4sI4s4sI", b"RIFF", riff & 0xFFFFFFFF, b"WAVE", b"fmt ", 16)
    return head + fmt + struct.pack("<4sI", b"data", size) + data


def _s16(samples: int) -> bytes:
    return (tone(samples)[:, 0] * 32_767).astype("<i2").tobytes()


@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("subtype", WAV_SUBTYPES)
def test_wav_reads_as_libsndfile_reads_it(container: str, subtype: str, channels: int) -> None:
    data = sound_file(tone(70_001, channels), container, subtype)
    source = open_audio(io.BytesIO(data))
    assert source.container == "wav"
    assert (source.sample_rate_hz, source.channels) == (RATE_HZ, channels)
    assert source.declared_samples == 70_001
    np.testing.assert_array_equal(read(source), decoded(data))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("container", "subtype"), COMPRESSED)
def test_compressed_audio_reads_as_libsndfile_reads_it(
    container: str, subtype: str, channels: int
) -> None:
    data = sound_file(tone(LENGTH, channels), container, subtype)
    whole = decoded(data)
    audio = read(open_audio(io.BytesIO(data)))
    assert len(audio) == LENGTH
    # libsndfile's own first seek changes the last bits of MP3, and of nothing else.
    np.testing.assert_allclose(audio, whole, rtol=0, atol=2e-7 if container == "MP3" else 0)


@pytest.mark.parametrize(
    ("container", "subtype"), [*COMPRESSED, ("WAV", "PCM_24"), ("RF64", "PCM_16")]
)
def test_path_buffer_and_pipe_give_the_same_samples(
    container: str, subtype: str, tmp_path: Path
) -> None:
    data = sound_file(tone(LENGTH, 2), container, subtype)
    path = tmp_path / "audio"
    path.write_bytes(data)
    from_path = read(open_audio(path))
    assert read(open_audio(io.BytesIO(data))).tobytes() == from_path.tobytes()
    with pipe(data) as file:
        assert read(open_audio(file)).tobytes() == from_path.tobytes()


@pytest.mark.parametrize("ending", [".wav", ".raw", ".mp3", ".txt", ""])
def test_content_decides_and_the_name_does_not(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"speech{ending}"
    path.write_bytes(next(FIXTURES.glob("speech-*.flac")).read_bytes())
    with open_audio(path) as source:
        assert source.container == "flac"


def test_every_recording_in_the_repository_is_read_whole() -> None:
    paths = sorted(FIXTURES.glob("*.flac"))
    assert len(paths) >= 30
    for path in paths:
        assert len(read(open_audio(path))) == soundfile.info(path).frames


@pytest.mark.parametrize(
    "size", [0xFFFFFFFF, 0xFFFFFFFF - 44, 0x7FFFFFFF, 0x7FFFF000, 0x7FFFFFDB, 0x80000000]
)
def test_a_streamed_wav_of_unknown_size_is_read_to_its_end(size: int) -> None:
    data = _s16(100_000)
    with pipe(_wav(data, size)) as file:
        audio = read(open_audio(file))
    np.testing.assert_array_equal(audio[:, 0], np.frombuffer(data, "<i2") / np.float32(32_768))


def test_a_wav_of_zeros_for_sizes_is_read_to_its_end() -> None:
    assert len(read(open_audio(io.BytesIO(_wav(_s16(1_000), size=0, riff=0))))) == 1_000


def test_a_live_pipe_is_heard_before_it_ends() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as file, os.fdopen(writer, "wb", buffering=0) as sender:
        sender.write(_wav(_s16(480), size=0xFFFFFFFF))
        source = open_audio(file)
        blocks = iter(source)
        while source.samples_read < 480:
            next(blocks)
        sender.write(_s16(240))
        while source.samples_read < 720:
            next(blocks)
        sender.close()
        assert list(blocks) == []


def test_chunks_around_the_samples_are_not_heard() -> None:
    body = _wav(_s16(1_001))
    extra = struct.pack("<4sI", b"LIST", 5) + b"hello\0"
    data = body[:12] + extra + body[12:] + extra
    assert len(read(open_audio(io.BytesIO(data)))) == 1_001


@pytest.mark.parametrize("encoding", ["s16le", "f32le", "mulaw", "alaw"])
def test_raw_samples_are_read_as_told(encoding: str) -> None:
    subtype = {"s16le": "PCM_16", "f32le": "FLOAT", "mulaw": "ULAW", "alaw": "ALAW"}[encoding]
    audio = tone(70_001, 2)
    wav = sound_file(audio, "WAV", subtype)
    out = io.BytesIO()
    soundfile.write(out, audio, RATE_HZ, format="RAW", subtype=subtype)
    raw = RawFormat.model_validate({"encoding": encoding, "sample_rate_hz": RATE_HZ, "channels": 2})
    with pipe(out.getvalue()) as file:
        np.testing.assert_array_equal(read(open_audio(file, raw=raw)), decoded(wav))


def test_a_file_object_stays_open_and_its_start_is_respected() -> None:
    for container, subtype in (("WAV", "PCM_16"), ("FLAC", "PCM_16")):
        file = io.BytesIO(b"prefix" + sound_file(tone(5_000), container, subtype))
        file.seek(6)
        assert len(read(open_audio(file))) == 5_000
        assert not file.closed


def test_an_id3_tag_before_flac_is_passed() -> None:
    flac = sound_file(tone(5_000), "FLAC", "PCM_16")
    source = open_audio(io.BytesIO(b"ID3\x04\0\0\0\0\x01\x00" + bytes(128) + flac))
    assert source.container == "flac"
    assert len(read(source)) == 5_000


def test_reading_takes_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    samples = 50_000_000
    path.write_bytes(_wav(b"", size=2 * samples))
    os.truncate(path, 44 + 2 * samples)
    tracemalloc.start()
    with open_audio(path) as source:
        total = sum(len(block) for block in source)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == samples
    assert peak_bytes < 4 * 2**20


# --- what cannot be read ------------------------------------------------------------------------


def _flac_claiming(samples: int) -> bytes:
    data = bytearray(sound_file(tone(5_000), "FLAC", "PCM_16")[:220])
    data[21] = data[21] & 0xF0 | samples >> 32
    data[22:26] = (samples & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize("allow_truncated", [False, True])
def test_a_flac_header_that_claims_2_to_36_samples_costs_nothing(allow_truncated: bool) -> None:
    tracemalloc.start()
    with pytest.raises(AudioError) as caught:
        open_audio(io.BytesIO(_flac_claiming(2**36 - 1)), allow_truncated=allow_truncated)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 4 * 2**20
    claim = "declares 2863311.5 seconds of audio, expected at most 86400"
    assert str(caught.value) == "audio: " + (
        "holds zero samples, expected at least one" if allow_truncated else claim
    )


TRUNCATED = [("WAV", "PCM_16"), ("RF64", "FLOAT"), *COMPRESSED]


@pytest.mark.parametrize("share", [0.6, 0.999])
@pytest.mark.parametrize(("container", "subtype"), TRUNCATED)
def test_truncated_audio_is_an_error(container: str, subtype: str, share: float) -> None:
    data = sound_file(tone(LENGTH), container, subtype)
    cut = data[: int(len(data) * share)]
    with pytest.raises(AudioError, match="is truncated"):
        read(open_audio(io.BytesIO(cut)))
    with pytest.raises(AudioError, match="is truncated"), pipe(cut) as file:
        read(open_audio(file))


@pytest.mark.parametrize(("container", "subtype"), TRUNCATED)
def test_truncated_audio_may_be_read_as_far_as_it_goes(container: str, subtype: str) -> None:
    data = sound_file(tone(LENGTH), container, subtype)
    cut = data[: int(len(data) * 0.6)]
    source = open_audio(io.BytesIO(cut), allow_truncated=True)
    audio = read(source)
    assert len(source.shortfall or "") > 10
    assert 0.4 * LENGTH < len(audio) < 0.75 * LENGTH
    # The last frame of MP3 leans on bits that are gone, and Opus needs the following packet.
    heard = len(audio) - 2_000
    np.testing.assert_allclose(audio[:heard], decoded(data)[:heard], rtol=0, atol=2e-7)


def test_a_truncated_wav_says_how_much_is_there() -> None:
    cut = _wav(_s16(1_000), size=96_000)
    message = "audio: is truncated: declares 48000 samples, holds 1000"
    with pytest.raises(AudioError) as at_open:
        open_audio(io.BytesIO(cut))
    assert str(at_open.value) == message
    with pytest.raises(AudioError) as at_end, pipe(cut) as file:
        read(open_audio(file))
    assert str(at_end.value) == message


def test_half_a_sample_at_the_end_is_truncation() -> None:
    with pytest.raises(AudioError, match="ends 1 bytes into sample 1000"):
        read(open_audio(io.BytesIO(_s16(1_000) + b"\0"), raw=RawFormat(sample_rate_hz=8_000)))


def test_a_recorder_that_was_killed_left_audio_behind_an_empty_header() -> None:
    data = _wav(_s16(1_000), size=0, riff=36)
    with pytest.raises(AudioError, match="zero samples"):
        open_audio(io.BytesIO(data))
    assert len(read(open_audio(io.BytesIO(data), allow_truncated=True))) == 1_000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 100.0])
@pytest.mark.parametrize("sample", [0, 65_535, 65_536, 149_999])
def test_a_bad_number_is_named_with_its_place(value: float, sample: int) -> None:
    audio = tone(150_000, 2)
    audio[sample, 1] = value
    place = rf"sample {sample} \({sample / RATE_HZ:.3f} s\) of channel 2 is {value:g}, expected"
    with pytest.raises(AudioError, match=place):
        read(open_audio(io.BytesIO(sound_file(audio, "WAV", "FLOAT"))))


def test_a_little_over_full_scale_is_kept() -> None:
    audio = np.array([[1.5], [-1.1]], np.float32)
    np.testing.assert_array_equal(
        read(open_audio(io.BytesIO(sound_file(audio, "WAV", "FLOAT")))), audio
    )


@pytest.mark.parametrize("container", ["WAV", "RF64", "AIFF"])
def test_zero_samples_are_refused(container: str) -> None:
    with pytest.raises(AudioError, match="zero samples"):
        open_audio(io.BytesIO(sound_file(tone(0), container, "PCM_16")))


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "IMA_ADPCM"),
        ("WAV", "MS_ADPCM"),
        ("WAV", "GSM610"),
        ("WAV", "G721_32"),
        ("AIFF", "IMA_ADPCM"),
        ("AIFF", "GSM610"),
        ("CAF", "PCM_16"),
        ("AU", "PCM_16"),
        ("W64", "PCM_16"),
        ("SVX", "PCM_16"),
        ("MAT5", "PCM_16"),
    ],
)
def test_exotic_formats_are_refused_with_what_to_do(container: str, subtype: str) -> None:
    with pytest.raises(AudioError, match="expected") as caught:
        open_audio(io.BytesIO(sound_file(tone(9_600), container, subtype, rate_hz=8_000)))
    assert caught.value.hint is not None
    assert "ffmpeg" in caught.value.hint


def test_limits_are_refused_at_the_door() -> None:
    limits = AudioLimits(
        max_bytes=1_000_000, max_seconds=2, max_channels=2, min_rate_hz=16_000, max_rate_hz=48_000
    )
    for rate_hz, channels, samples, expectation in (
        (96_000, 8, 100, "96000 Hz, expected 16000 to 48000"),
        (8_000, 1, 100, "8000 Hz, expected 16000 to 48000"),
        (24_000, 3, 100, "3 channels, expected 1 to 2"),
        (24_000, 1, 50_000, "declares 2.1 seconds of audio, expected at most 2"),
        (24_000, 2, 300_000, "bytes or more, expected at most 1000000"),
    ):
        data = sound_file(tone(samples, channels), "WAV", "PCM_16", rate_hz)
        with pytest.raises(AudioError, match=expectation):
            open_audio(io.BytesIO(data), limits)


def test_96_khz_in_8_channels_and_8_bits_are_read() -> None:
    source = open_audio(io.BytesIO(sound_file(tone(100, 8), "WAV", "PCM_U8", 96_000)))
    assert (source.sample_rate_hz, source.channels) == (96_000, 8)
    assert read(source).shape == (100, 8)


def test_limits_hold_where_nothing_was_declared() -> None:
    endless = _wav(_s16(200_000), size=0xFFFFFFFF)
    with (
        pytest.raises(AudioError, match="seconds of audio, expected at most 5"),
        pipe(endless) as file,
    ):
        read(open_audio(file, AudioLimits(max_seconds=5)))
    with pytest.raises(AudioError, match="expected at most 200000"), pipe(endless) as file:
        read(open_audio(file, AudioLimits(max_bytes=200_000)))
    flac = sound_file(tone(200_000), "FLAC", "PCM_16")
    with pytest.raises(AudioError, match="expected at most 100000"), pipe(flac) as file:
        open_audio(file, AudioLimits(max_bytes=100_000))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"RIFF", "is text"),
        ("Guten Tag, schöne Welt. ".encode() * 50, "is text"),
        (b"\0" * 100, "is unknown data starting with 00 00 00 00"),
        (b"\xff\xf1\x50\x80" + bytes(80), "is AAC"),
        (b"PK\x03\x04" + bytes(80), "is a ZIP archive"),
        (b"OggS\0\x02" + bytes(20) + b"\x01\x13Speex   " + bytes(80), "holds Speex"),
        (b"ID3\x04\0\0\0\0\0\0" + bytes(500), "has no MP3 frames"),
        (b"RIFF\0\0\0\0WAVE", "ends before its samples"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "data comes before its format"),
        (b"FORM\0\0\0\0AIFF" + bytes(8), "has no samples"),
        (b"fLaC" + bytes(100), "is damaged"),
    ],
)
def test_what_is_no_audio_is_named_in_one_line(content: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=what) as caught:
        open_audio(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_place_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path, "Is a directory"),
        (tmp_path / "none.wav", "No such file or directory"),
        (tmp_path / "a\0b.wav", "null"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        with pytest.raises(AudioError, match=f"cannot be opened: .*{reason}") as caught:
            open_audio(path)
        assert str(caught.value).isprintable()


class _FailingFile(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= 30_000:
            raise OSError(5, "Input/output error")
        return super().read(size)

    def read1(self, size: int | None = -1, /) -> bytes:
        return self.read(size)


@pytest.mark.parametrize("container", ["WAV", "FLAC", "AIFF"])
def test_a_file_that_stops_being_readable_is_an_error(container: str) -> None:
    data = sound_file(tone(LENGTH), container, "PCM_16")
    with pytest.raises(AudioError, match="cannot be read: Input/output error"):
        read(open_audio(_FailingFile(data)))
