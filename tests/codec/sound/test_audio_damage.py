"""No bytes may crash, hang or mislead a reader."""

import io
import time
from functools import cache

import numpy as np
import pytest
from audio_cases import COMPRESSED, read, sound_file, tone
from hypothesis import given, settings
from hypothesis import strategies as st

from grove.codec.errors import AudioError
from grove.codec.sound.source import AudioLimits, RawFormat, open_audio

KINDS = [*COMPRESSED, ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAVEX", "PCM_24"), ("RF64", "DOUBLE")]
LIMITS = AudioLimits(max_seconds=10)
SAMPLES = 6_000


@cache
def _file(container: str, subtype: str) -> bytes:
    return sound_file(tone(SAMPLES), container, subtype)


def _read_or_refuse(data: bytes, allow_truncated: bool) -> None:
    """Read `data`; what comes out is finite, within the limits, and in time."""
    start_s = time.monotonic()
    try:
        source = open_audio(io.BytesIO(data), LIMITS, allow_truncated=allow_truncated)
        audio = read(source)
    except AudioError:
        pass
    else:
        assert np.abs(audio).max() <= LIMITS.max_peak
        assert len(audio) <= LIMITS.max_seconds * source.sample_rate_hz
    assert time.monotonic() - start_s < 5


@settings(deadline=None, max_examples=150)
@given(
    kind=st.sampled_from(KINDS),
    changes=st.lists(
        # Headers are where the damage is interesting.
        st.tuples(st.integers(0, 120) | st.integers(0, 60_000), st.integers(0, 255)),
        min_size=1,
        max_size=6,
    ),
    allow_truncated=st.booleans(),
)
def test_changed_bytes_are_read_or_refused(
    kind: tuple[str, str], changes: list[tuple[int, int]], allow_truncated: bool
) -> None:
    data = bytearray(_file(*kind))
    for position, value in changes:
        data[position % len(data)] = value
    _read_or_refuse(bytes(data), allow_truncated)


@settings(deadline=None, max_examples=150)
@given(
    kind=st.sampled_from(KINDS),
    share=st.floats(0, 1),
    tail=st.binary(max_size=40),
    allow_truncated=st.booleans(),
)
def test_cut_files_with_strange_ends_are_read_or_refused(
    kind: tuple[str, str], share: float, tail: bytes, allow_truncated: bool
) -> None:
    data = _file(*kind)
    _read_or_refuse(data[: int(share * len(data))] + tail, allow_truncated)


@settings(deadline=None, max_examples=150)
@given(
    magic=st.sampled_from(
        [
            b"",
            b"fLaC",
            b"OggS\0",
            b"RIFF\0\0\0\0WAVE",
            b"FORM\0\0\0\0AIFC",
            b"ID3\4\0\0",
            b"\xff\xfb",
        ]
    ),
    data=st.binary(max_size=400),
)
def test_random_bytes_are_read_or_refused(magic: bytes, data: bytes) -> None:
    _read_or_refuse(magic + data, allow_truncated=False)
    _read_or_refuse(magic + data, allow_truncated=True)


@settings(deadline=None)
@given(data=st.binary(max_size=400), channels=st.integers(1, 8))
def test_random_bytes_as_raw_floats_are_finite_or_refused(data: bytes, channels: int) -> None:
    raw = RawFormat(encoding="f32le", sample_rate_hz=8_000, channels=channels)
    try:
        audio = read(open_audio(io.BytesIO(data), raw=raw))
    except AudioError:
        return
    assert np.isfinite(audio).all()
    assert audio.size * 4 == len(data)


@pytest.mark.parametrize(("container", "subtype"), [("FLAC", "PCM_16"), ("OGG", "VORBIS")])
def test_damage_that_a_checksum_sees_is_not_played(container: str, subtype: str) -> None:
    data = bytearray(sound_file(tone(150_000), container, subtype))
    middle = len(data) // 2
    data[middle : middle + 4] = bytes(byte ^ 0x55 for byte in data[middle : middle + 4])
    with pytest.raises(AudioError, match="is truncated"):
        read(open_audio(io.BytesIO(bytes(data))))
