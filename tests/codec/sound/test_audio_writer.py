import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import soundfile
from audio_cases import RATE_HZ, decoded, pipe, read, tone
from hypothesis import given, settings
from hypothesis import strategies as st
from test_atomic import file_size_limit, names_in

from grove.codec.arrays import F32
from grove.codec.atomic import OutputError
from grove.codec.errors import AudioError
from grove.codec.sound.source import RawFormat, open_audio
from grove.codec.sound.wav import wav_header
from grove.codec.sound.writer import (
    AudioOutput,
    FlacOutput,
    OggOutput,
    RawOutput,
    WavOutput,
    open_writer,
    output_for,
)

FILES: list[AudioOutput] = [
    WavOutput(),
    WavOutput(encoding="f32le"),
    FlacOutput(),
    OggOutput(),
    OggOutput(codec="vorbis"),
]


class ForwardOnly(io.RawIOBase):
    """A sink like stdout into a pipe."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        self.data += data
        return len(data)

    def writable(self) -> bool:
        return True


def _write(sink: ForwardOnly, output: AudioOutput, audio: F32, samples: int | None = None) -> bytes:
    with open_writer(sink, output, RATE_HZ, audio.shape[1], samples=samples) as writer:  # type: ignore[arg-type]
        for start in range(0, len(audio), 7_000):
            writer.write(audio[start : start + 7_000])
    return bytes(sink.data)


def _write_file(target: Path | BinaryIO, output: AudioOutput, blocks: Iterable[F32]) -> None:
    with open_writer(target, output, RATE_HZ) as writer:
        for block in blocks:
            writer.write(block)


def _damaged_input() -> Iterator[F32]:
    yield tone(100_000)
    raise AudioError("the input is damaged")


def _s16_exact(samples: int, channels: int) -> F32:
    rng = np.random.default_rng(samples)
    return (rng.integers(-32_768, 32_768, (samples, channels)) / 32_768).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("output", FILES, ids=str)
def test_a_file_and_a_pipe_get_the_same_samples(
    output: AudioOutput, channels: int, tmp_path: Path
) -> None:
    audio = _s16_exact(30_001, channels) * np.float32(0.25)
    path = tmp_path / "out"
    with open_writer(path, output, RATE_HZ, channels) as writer:
        writer.write(audio[:20_000])
        writer.write(audio[20_000:])
    in_file = decoded(path.read_bytes())
    assert in_file.shape == audio.shape
    for promised in (None, len(audio)):
        piped = _write(ForwardOnly(), output, audio, promised)
        np.testing.assert_array_equal(read(open_audio(io.BytesIO(piped))), in_file)
    if output.kind != "ogg":
        np.testing.assert_allclose(in_file, audio, rtol=0, atol=2**-16)


@pytest.mark.parametrize(
    "output", [WavOutput(), WavOutput(encoding="f32le"), FlacOutput()], ids=str
)
def test_a_pipe_header_carries_a_promised_length(output: AudioOutput) -> None:
    audio = tone(30_001, 2)
    data = _write(ForwardOnly(), output, audio, len(audio))
    info = soundfile.info(io.BytesIO(data))
    assert (info.frames, info.channels, info.samplerate) == (30_001, 2, RATE_HZ)
    with open_audio(io.BytesIO(data)) as source:
        assert source.declared_samples == 30_001


@pytest.mark.parametrize("output", [WavOutput(), FlacOutput()], ids=str)
def test_a_pipe_header_without_a_promise_declares_nothing(output: AudioOutput) -> None:
    with open_audio(io.BytesIO(_write(ForwardOnly(), output, tone(1_000)))) as source:
        assert source.declared_samples is None


def test_a_broken_promise_is_an_error() -> None:
    with pytest.raises(AudioError, match="got 1000 samples, its header says 2000"):
        _write(ForwardOnly(), WavOutput(), tone(1_000), 2_000)


@pytest.mark.parametrize("output", [WavOutput(), FlacOutput(), RawOutput()], ids=str)
def test_sixteen_bits_survive_and_what_exceeds_full_scale_is_clipped(output: AudioOutput) -> None:
    audio = np.concatenate((_s16_exact(5_000, 1), np.array([[2], [-2], [1]], np.float32)))
    raw = RawFormat(sample_rate_hz=RATE_HZ) if output.kind == "raw" else None
    back = read(open_audio(io.BytesIO(_write(ForwardOnly(), output, audio)), raw=raw))
    np.testing.assert_array_equal(back[:-3], audio[:-3])
    np.testing.assert_array_equal(back[-3:, 0] * 32_768, [32_767, -32_768, 32_767])


@settings(deadline=None, max_examples=25)
@given(
    encoding=st.sampled_from(["s16le", "f32le", "mulaw", "alaw"]),
    sizes=st.lists(st.integers(0, 3_000), max_size=6),
)
def test_raw_bytes_do_not_depend_on_the_blocks(encoding: str, sizes: list[int]) -> None:
    output = RawOutput.model_validate({"encoding": encoding})
    audio = tone(sum(sizes), 2)
    sink = ForwardOnly()
    with open_writer(sink, output, RATE_HZ, 2) as writer:  # type: ignore[arg-type]
        for block in np.split(audio, np.cumsum(sizes)):
            writer.write(block)
    assert bytes(sink.data) == _write(ForwardOnly(), output, audio)


def test_names_choose_the_format() -> None:
    assert output_for(Path("a.WAV")) == WavOutput()
    assert output_for(Path("a.opus")) == OggOutput(codec="opus")
    with pytest.raises(AudioError, match=r"a\.mp3: ends in '\.mp3', expected \.wav, \.flac"):
        output_for(Path("a.mp3"))


@pytest.mark.parametrize(("rate_hz", "subtype"), [(24_000, "OPUS"), (44_100, "VORBIS")])
def test_ogg_holds_opus_where_opus_has_the_rate(rate_hz: int, subtype: str, tmp_path: Path) -> None:
    path = tmp_path / "out.ogg"
    with open_writer(path, output_for(path), rate_hz) as writer:
        writer.write(tone(200_000))
    info = soundfile.info(path)
    assert (info.subtype, info.samplerate, info.frames) == (subtype, rate_hz, 200_000)


@pytest.mark.parametrize(
    ("rate_hz", "channels", "output", "expectation"),
    [
        (44_100, 1, OggOutput(codec="opus"), "Opus cannot hold 44100 Hz, expected one of 8000"),
        (4_000, 1, WavOutput(), "1 channels at 4000 Hz, expected 1 to 8 at 8000 to 192000"),
        (24_000, 9, WavOutput(), "9 channels at 24000 Hz, expected 1 to 8"),
    ],
)
def test_what_a_format_cannot_hold_leaves_no_file(
    rate_hz: int, channels: int, output: AudioOutput, expectation: str, tmp_path: Path
) -> None:
    with (
        pytest.raises(AudioError, match=expectation),
        open_writer(tmp_path / "out", output, rate_hz, channels),
    ):
        pass
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("output", [*FILES, RawOutput()], ids=str)
def test_a_full_disk_is_an_error_and_leaves_nothing_behind(
    output: AudioOutput, tmp_path: Path
) -> None:
    path = tmp_path / "out"
    noise = _s16_exact(400_000, 1)
    with (
        pytest.raises(OutputError, match="out: cannot be written: File too large"),
        file_size_limit(50_000),
    ):
        _write_file(path, output, np.split(noise, 40))
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("output", [*FILES, RawOutput()], ids=str)
def test_a_failure_half_way_leaves_nothing_behind(output: AudioOutput, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="damaged"):
        _write_file(tmp_path / "out", output, _damaged_input())
    assert names_in(tmp_path) == []


def test_a_pipe_abandoned_half_way_gets_no_end() -> None:
    sink = ForwardOnly()
    with pytest.raises(AudioError, match="damaged"):
        _write_file(sink, OggOutput(), _damaged_input())  # type: ignore[arg-type]
    with pytest.raises(AudioError, match="its last page is missing or cut"):
        read(open_audio(io.BytesIO(bytes(sink.data))))


@pytest.mark.parametrize("output", [*FILES, RawOutput()], ids=str)
def test_a_reader_that_hangs_up_is_an_error(output: AudioOutput) -> None:
    reader, writing_end = os.pipe()
    os.close(reader)
    with (
        os.fdopen(writing_end, "wb", buffering=0) as file,
        pytest.raises(OutputError, match="Broken pipe"),
        open_writer(file, output, RATE_HZ) as writer,
    ):
        writer.write(tone(100_000))


def test_samples_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    audio = tone(100)
    audio[42] = np.nan
    with pytest.raises(AudioError, match="sample 142 is not a finite number"):
        _write_file(tmp_path / "out.wav", WavOutput(), [tone(100), audio])
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("output", [FlacOutput(), OggOutput()], ids=str)
def test_zero_samples_make_no_file_that_cannot_be_opened(
    output: AudioOutput, tmp_path: Path
) -> None:
    with (
        pytest.raises(AudioError, match="got zero samples"),
        open_writer(tmp_path / "out", output, RATE_HZ),
    ):
        pass
    assert names_in(tmp_path) == []


def test_wav_headers_have_fixed_bytes() -> None:
    assert wav_header("s16le", 24_000, 1, 10).hex() == (
        "524946463800000057415645666d7420100000000100"
        "0100c05d000080bb00000200100064617461" + "14000000"
    )
    assert wav_header("s16le", 24_000, 1, None)[-4:] == b"\xff\xff\xff\xff"
    assert len(wav_header("f32le", 24_000, 1, 10)) == 58


def test_a_length_beyond_riff_gets_an_rf64_header() -> None:
    samples = 2**32
    data = wav_header("s16le", 24_000, 1, samples) + bytes(2_000)
    with pipe(data) as file, open_audio(file, allow_truncated=True) as source:
        assert source.declared_samples == samples
        assert sum(len(block) for block in source) == 1_000
        assert source.shortfall == f"declares {samples} samples, holds 1000"


def test_a_wav_of_unknown_length_ends_where_riff_cannot_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grove.codec.sound.wav._MAX_DATA_BYTES", 10_000)
    with pytest.raises(AudioError, match="at most 10000 bytes"):
        _write_file(tmp_path / "out.wav", WavOutput(), [tone(1_000)] * 10)
    assert names_in(tmp_path) == []
