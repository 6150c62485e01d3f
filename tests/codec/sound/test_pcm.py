import io

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from grove.codec.arrays import F32
from grove.codec.sound.pcm import OutputEncoding, PcmEncoding, decode_pcm, encode_pcm, quantize_s16

SUBTYPES: dict[str, PcmEncoding] = {
    "PCM_U8": "u8",
    "PCM_16": "s16le",
    "PCM_24": "s24le",
    "PCM_32": "s32le",
    "FLOAT": "f32le",
    "DOUBLE": "f64le",
    "ULAW": "mulaw",
    "ALAW": "alaw",
}
ALL_S16 = np.arange(-32_768, 32_768).astype(np.int16)


def _by_libsndfile(data: bytes, subtype: str) -> F32:
    samples: F32
    samples, _ = soundfile.read(
        io.BytesIO(data),
        dtype="float32",
        samplerate=8_000,
        channels=1,
        format="RAW",
        subtype=subtype,
    )
    return samples


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_every_encoding_decodes_as_libsndfile_does(subtype: str) -> None:
    rng = np.random.default_rng(0)
    if subtype in ("FLOAT", "DOUBLE"):
        data = rng.standard_normal(1_000).astype("<f4" if subtype == "FLOAT" else "<f8").tobytes()
    else:
        data = bytes(range(256)) * 3 + rng.bytes(12_000)
    decoded = decode_pcm(data, SUBTYPES[subtype])
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded, _by_libsndfile(data, subtype))


def _codes_by_libsndfile(samples: NDArray[np.int16], subtype: str) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, 8_000, format="RAW", subtype=subtype)
    return out.getvalue()


def test_mulaw_codes_are_those_of_libsndfile() -> None:
    coded = encode_pcm(decode_pcm(ALL_S16.tobytes(), "s16le"), "mulaw")
    assert coded == _codes_by_libsndfile(ALL_S16, "ULAW")


def test_alaw_codes_are_those_of_libsndfile_mirrored_at_zero() -> None:
    # libsndfile rounds negative samples by another rule than the standard's reference code.
    coded = np.frombuffer(encode_pcm(decode_pcm(ALL_S16.tobytes(), "s16le"), "alaw"), np.uint8)
    assert coded[32_768:].tobytes() == _codes_by_libsndfile(ALL_S16[32_768:], "ALAW")
    np.testing.assert_array_equal(coded[:32_768][::-1], coded[32_768:] ^ 0x80)


@pytest.mark.parametrize("encoding", ["mulaw", "alaw"])
def test_g711_levels_survive_a_round_trip(encoding: OutputEncoding) -> None:
    levels = decode_pcm(bytes(range(256)), encoding)
    np.testing.assert_array_equal(decode_pcm(encode_pcm(levels, encoding), encoding), levels)


def test_every_s16_survives_a_round_trip() -> None:
    samples = decode_pcm(ALL_S16.astype("<i2").tobytes(), "s16le")
    np.testing.assert_array_equal(quantize_s16(samples), ALL_S16)


def test_integers_clip_what_exceeds_full_scale_and_floats_keep_it() -> None:
    loud = np.array([-3, -1, 1, 3], np.float32)
    np.testing.assert_array_equal(quantize_s16(loud), [-32_768, -32_768, 32_767, 32_767])
    np.testing.assert_array_equal(decode_pcm(encode_pcm(loud, "f32le"), "f32le"), loud)


def test_a_double_beyond_float32_turns_infinite_without_a_warning() -> None:
    assert np.isinf(decode_pcm(np.array([1e300], np.float64).tobytes(), "f64le")).all()
