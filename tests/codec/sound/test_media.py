"""WebM and M4A: the recordings of browsers and telephones."""

import io
import random
import struct
import sys

import numpy as np
import pytest
from media_cases import RECORDINGS, recording, tones

from grove.codec.arrays import F32
from grove.codec.errors import AudioError
from grove.codec.sound import media
from grove.codec.sound.source import AudioLimits, open_audio

# Lossy codecs keep a tone this well.
CLOSE = 0.2


def heard(data: bytes, limits: AudioLimits | None = None) -> F32:
    with open_audio(io.BytesIO(data), limits, name="clip") as source:
        return np.concatenate(list(source))


def m4a(seconds: float = 1.5, options: dict[str, str] | None = None) -> bytes:
    return recording(tones(48_000, 1, seconds), 48_000, "mp4", "aac", options)


def webm(seconds: float = 1.5, options: dict[str, str] | None = None) -> bytes:
    return recording(tones(48_000, 1, seconds), 48_000, "webm", "libopus", options)


@pytest.mark.parametrize(("name", "container", "codec", "rate_hz", "channels"), RECORDINGS)
def test_a_recording_comes_back_in_its_place_and_length(
    name: str, container: str, codec: str, rate_hz: int, channels: int
) -> None:
    pcm = tones(rate_hz, channels)
    data = recording(pcm, rate_hz, container, codec)
    with open_audio(io.BytesIO(data), name=name) as source:
        kind = "mp4" if container == "mp4" else "webm"
        assert (source.container, source.sample_rate_hz) == (kind, rate_hz)
        assert source.channels == channels
        found = np.concatenate(list(source))
        assert source.shortfall is None
    assert found.shape == pcm.shape
    # The first and the last frames of a lossy codec are not like the rest.
    inner = slice(4096, -4096)
    assert np.abs(found[inner] - pcm[inner]).max() < CLOSE


def test_a_live_recording_without_lengths_or_index_is_read() -> None:
    data = webm(options={"live": "1"})
    assert heard(data).shape == (72_000, 1)
    assert heard(m4a(options={"movflags": "frag_keyframe+empty_moov"})).shape[1] == 1


def test_a_pipe_is_read_too() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    with open_audio(Pipe(m4a()), name="pipe") as source:
        assert sum(len(block) for block in source) == 72_000


@pytest.mark.parametrize("make", [webm, m4a])
@pytest.mark.parametrize("cut", [0.3, 0.6, 0.95])
def test_a_file_that_is_cut_is_refused_or_read_as_far_as_it_goes(make: type, cut: float) -> None:
    data = make(3.0, {"movflags": "faststart"} if make is m4a else None)
    with pytest.raises(AudioError, match=r"clip: (is truncated|is damaged|stops)"):
        heard(data[: int(len(data) * cut)])


def test_an_index_that_never_came_is_damage() -> None:
    data = m4a()
    with pytest.raises(AudioError, match="is damaged"):
        heard(data[: data.index(b"moov")])


@pytest.mark.parametrize("make", [webm, m4a])
def test_limits_hold_before_and_while_it_is_decoded(make: type) -> None:
    with pytest.raises(AudioError, match=r"expected at most 1$"):
        heard(make(3.0), AudioLimits(max_seconds=1))
    stereo = recording(tones(48_000, 2), 48_000, "webm", "libopus")
    with pytest.raises(AudioError, match="has 2 channels"):
        heard(stereo, AudioLimits(max_channels=1))
    with pytest.raises(AudioError, match="bytes"):
        heard(make(), AudioLimits(max_bytes=1000))


def test_as_many_channels_as_pyav_reads_safely_and_no_more() -> None:
    seven = recording(tones(48_000, 7), 48_000, "matroska", "pcm_f32le")
    assert heard(seven).shape == (72_000, 7)
    eight = recording(tones(48_000, 8), 48_000, "mp4", "aac")
    with pytest.raises(AudioError, match="has 8 channels, expected 1 to 7 in mp4"):
        heard(eight)


def test_a_claim_of_a_week_is_refused_before_it_is_decoded() -> None:
    data = webm()
    # The element "Duration" is a float of milliseconds, and the scale a million nanoseconds.
    at = data.index(b"\x44\x89\x88") + 3
    claimed = data[:at] + struct.pack(">d", 7 * 86_400_000.0) + data[at + 8 :]
    with pytest.raises(AudioError, match=r"declares 604800.0 seconds"):
        heard(claimed, AudioLimits(max_seconds=60))


def test_a_codec_that_is_not_for_us_is_named() -> None:
    data = recording(tones(48_000, 1), 48_000, "mp4", "ac3")
    with pytest.raises(AudioError, match=r"clip: holds ac3, expected aac"):
        heard(data)


def test_pictures_alone_are_no_audio() -> None:
    import av  # noqa: PLC0415 - as the cases do

    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(10):
            file.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        file.mux(stream.encode(None))
    with pytest.raises(AudioError, match="has no audio in it"):
        heard(out.getvalue())


@pytest.mark.parametrize("make", [webm, m4a])
def test_no_damage_gets_past_as_anything_but_our_error(make: type) -> None:
    data, chance = make(0.5), random.Random(7)
    outcomes = set()
    for _ in range(150):
        broken = bytearray(data)
        for _ in range(chance.randint(1, 20)):
            broken[chance.randrange(8, len(broken))] = chance.randrange(256)
        try:
            outcomes.add(len(heard(bytes(broken), AudioLimits(max_seconds=60))) > 0)
        except AudioError:
            outcomes.add(False)
    assert outcomes == {True, False}


def test_a_file_that_names_another_is_not_followed() -> None:
    with pytest.raises(PermissionError, match="names 'file:"):
        media._no_other_file("file:///etc/passwd", 0, {})


def test_without_the_extra_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    for data, kind in ((m4a_head(), "MP4/M4A"), (b"\x1a\x45\xdf\xa3" + bytes(60), "Matroska/WebM")):
        with pytest.raises(AudioError, match=rf"is {kind}, for which PyAV") as refused:
            heard(data)
        assert "extra `media`" in (refused.value.hint or "")


def m4a_head() -> bytes:
    return b"\0\0\0\x20ftypM4A " + bytes(60)


def test_the_extra_is_not_loaded_where_it_is_not_needed() -> None:
    import subprocess  # noqa: PLC0415 - a process without it

    program = (
        "import sys, io, numpy, soundfile\n"
        "from grove.codec.sound.source import open_audio\n"
        "out = io.BytesIO()\n"
        "soundfile.write(out, numpy.zeros(480), 24000, format='FLAC')\n"
        "out.seek(0)\n"
        "list(open_audio(out))\n"
        "assert 'av' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
