import io

import numpy as np
import pytest
from audio_cases import RATE_HZ, read, sound_file, tone
from hypothesis import given, settings
from hypothesis import strategies as st

from grove.codec.errors import AudioError
from grove.codec.sound.mp3 import scan_mp3
from grove.codec.sound.source import open_audio

SAMPLES = 20 * RATE_HZ
LOUD_THEN_QUIET = tone(SAMPLES)
LOUD_THEN_QUIET[SAMPLES // 2 :] = 0
INDEXED = sound_file(LOUD_THEN_QUIET, "MP3", "MPEG_LAYER_III")


def _without_index(data: bytes) -> bytes:
    scan = scan_mp3(io.BytesIO(data), 0, "test", len(data))
    return data[scan.first.size_bytes :]


def test_frames_are_counted_as_the_encoder_counted_them() -> None:
    scan = scan_mp3(io.BytesIO(INDEXED), 0, "test", len(INDEXED))
    assert scan.frames == scan.declared_frames
    assert 0 <= scan.frames * scan.first.samples - SAMPLES < 4 * scan.first.samples
    assert not scan.is_cut


@pytest.mark.parametrize("reverse", [False, True])
def test_a_variable_rate_without_an_index_is_read_whole(reverse: bool) -> None:
    audio = LOUD_THEN_QUIET[::-1] if reverse else LOUD_THEN_QUIET
    data = sound_file(np.ascontiguousarray(audio), "MP3", "MPEG_LAYER_III")
    indexed = read(open_audio(io.BytesIO(data)))
    bare = read(open_audio(io.BytesIO(_without_index(data))))
    assert len(indexed) == SAMPLES
    # Without an index nobody knows the encoder's delay, which then stays at the start.
    delay_samples = 576
    heard = bare[delay_samples : delay_samples + SAMPLES]
    # The first frame leans on bits of the index frame, and the last ones on nothing.
    np.testing.assert_allclose(heard[2_000:], indexed[2_000 : len(heard)], rtol=0, atol=1e-6)
    assert len(heard) > SAMPLES - 2_000


def test_tags_before_and_behind_are_not_heard() -> None:
    tagged = b"ID3\x04\0\0\0\0\x02\x00" + bytes(256) + INDEXED + b"TAG" + b"x" * 125
    assert len(read(open_audio(io.BytesIO(tagged)))) == SAMPLES


def test_two_files_in_one_are_not_cut_to_the_first_in_silence() -> None:
    with pytest.raises(
        AudioError, match="the index of the first declares 836 frames, there are 1673"
    ):
        open_audio(io.BytesIO(INDEXED + INDEXED))


def test_a_layer_other_than_iii_is_named() -> None:
    with pytest.raises(AudioError, match="MPEG audio of layer I or II"):
        open_audio(io.BytesIO(b"\xff\xfd\x84\x04" + bytes(1_000)))


@settings(deadline=None, max_examples=50)
@given(data=st.binary(max_size=3_000))
def test_no_bytes_crash_the_scan(data: bytes) -> None:
    try:
        scan = scan_mp3(io.BytesIO(data), 0, "test", len(data))
    except AudioError:
        return
    assert scan.frames * 24 <= len(data)
