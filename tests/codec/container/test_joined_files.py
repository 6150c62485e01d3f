"""Files joined end to end: all of them are read, or the file is refused by its right name."""

import io

import numpy as np
import pytest
import soundfile

from grove.codec.arrays import F32
from grove.codec.errors import AudioError
from grove.codec.sound.source import open_audio


def encoded(samples: int, seed: int, subtype: str, rate_hz: int = 24_000) -> bytes:
    file = io.BytesIO()
    container = "MP3" if subtype == "MPEG_LAYER_III" else "OGG"
    noise = np.random.default_rng(seed).normal(0, 0.1, samples)
    soundfile.write(file, noise, rate_hz, format=container, subtype=subtype)
    return file.getvalue()


def decoded(data: bytes) -> F32:
    with open_audio(io.BytesIO(data)) as source:
        return np.concatenate(list(source))


@pytest.mark.parametrize("subtype", ["OPUS", "VORBIS"])
def test_all_links_of_a_chained_ogg_file_are_read(subtype: str) -> None:
    parts = [encoded(samples, samples, subtype) for samples in (24_000, 7_000, 90_000)]
    with open_audio(io.BytesIO(b"".join(parts))) as source:
        assert source.declared_samples == 121_000
        whole = np.concatenate(list(source))
    np.testing.assert_array_equal(whole, np.concatenate([decoded(part) for part in parts]))


def test_a_chain_that_is_cut_says_so() -> None:
    chain = encoded(24_000, 1, "OPUS") + encoded(240_000, 2, "OPUS")
    with pytest.raises(AudioError, match="truncated"):
        decoded(chain[:-500])


def test_links_of_another_rate_are_refused() -> None:
    chain = encoded(24_000, 1, "OPUS") + encoded(24_000, 2, "OPUS", 48_000)
    with pytest.raises(AudioError, match="link 2 of 2 has 1 channels at 48000 Hz"):
        decoded(chain)


def test_joined_mp3_files_are_called_that() -> None:
    one = encoded(48_000, 1, "MPEG_LAYER_III")
    with pytest.raises(AudioError, match="is several MP3 files in one"):
        decoded(one + one)
