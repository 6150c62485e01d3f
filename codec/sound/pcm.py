"""Samples as bytes: integer, float and G.711 encodings to and from float32."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from grove.codec.arrays import F32

PcmEncoding = Literal["u8", "s16le", "s24le", "s32le", "f32le", "f64le", "mulaw", "alaw"]
OutputEncoding = Literal["s16le", "f32le", "mulaw", "alaw"]

SAMPLE_BYTES: Final[dict[PcmEncoding, int]] = {
    "u8": 1,
    "s16le": 2,
    "s24le": 3,
    "s32le": 4,
    "f32le": 4,
    "f64le": 8,
    "mulaw": 1,
    "alaw": 1,
}


@dataclass(frozen=True, slots=True)
class PcmFormat:
    """What must be known to read samples from plain bytes."""

    encoding: PcmEncoding
    sample_rate_hz: int
    channels: int

    @property
    def frame_bytes(self) -> int:
        """The bytes that one sample of all channels takes."""
        return SAMPLE_BYTES[self.encoding] * self.channels


def decode_pcm(data: bytes | memoryview, encoding: PcmEncoding) -> F32:
    """Return float32 [n], full scale at 1, for whole samples in `data`."""
    samples: F32
    match encoding:
        case "u8":
            samples = (np.frombuffer(data, np.uint8).astype(np.float32) - 128) * np.float32(2**-7)
        case "s16le":
            samples = np.frombuffer(data, "<i2").astype(np.float32) * np.float32(2**-15)
        case "s24le":
            samples = _s24_as_s32(data).astype(np.float32) * np.float32(2**-31)
        case "s32le":
            samples = np.frombuffer(data, "<i4").astype(np.float32) * np.float32(2**-31)
        case "f32le":
            samples = np.frombuffer(data, "<f4").astype(np.float32)
        case "f64le":
            # What float32 cannot hold turns into inf here and is refused where blocks are checked.
            with np.errstate(over="ignore"):
                samples = np.frombuffer(data, "<f8").astype(np.float32)
        case "mulaw":
            samples = _MULAW_LEVELS[np.frombuffer(data, np.uint8)]
        case "alaw":
            samples = _ALAW_LEVELS[np.frombuffer(data, np.uint8)]
    return samples


def encode_pcm(samples: F32, encoding: OutputEncoding) -> bytes:
    """Return the bytes of finite `samples`, row by row; what exceeds full scale is clipped."""
    match encoding:
        case "s16le":
            return quantize_s16(samples).astype("<i2").tobytes()
        case "f32le":
            return samples.astype("<f4").tobytes()
        case "mulaw":
            return _MULAW_CODES[quantize_s16(samples).view(np.uint16)].tobytes()
        case "alaw":
            return _ALAW_CODES[quantize_s16(samples).view(np.uint16)].tobytes()


def quantize_s16(samples: F32) -> NDArray[np.int16]:
    """Return the nearest 16-bit integers, clipped at full scale; exact for what 16 bits made."""
    scaled = np.clip(np.rint(samples * np.float32(32_768)), -32_768, 32_767)
    quantized: NDArray[np.int16] = scaled.astype(np.int16)
    return quantized


def _s24_as_s32(data: bytes | memoryview) -> NDArray[np.int32]:
    """Return 24-bit samples as the upper three bytes of 32."""
    packed = np.frombuffer(data, np.uint8).reshape(-1, 3)
    widened = np.zeros((len(packed), 4), np.uint8)
    widened[:, 1:] = packed
    return widened.view(np.dtype("<i4"))[:, 0]


# --- G.711: tables of the levels [256] and of the codes [65536], indexed by the bits of an s16 --


def _mulaw_levels() -> F32:
    code = ~np.arange(256, dtype=np.uint8).astype(np.int32) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84
    return (np.where(code & 0x80, -magnitude, magnitude) / 32_768).astype(np.float32)


def _alaw_levels() -> F32:
    code = np.arange(256, dtype=np.int32) ^ 0x55
    segment = (code & 0x70) >> 4
    magnitude = ((code & 0x0F) << 4) + np.where(segment == 0, 0x008, 0x108)
    magnitude <<= np.maximum(segment - 1, 0)
    return (np.where(code & 0x80, magnitude, -magnitude) / 32_768).astype(np.float32)


def _mulaw_codes() -> NDArray[np.uint8]:
    sample = np.arange(65_536, dtype=np.uint16).view(np.int16).astype(np.int32)
    biased = np.minimum(np.abs(sample), 32_635) + 0x84
    segment = _bit_length(biased) - 8
    code = np.where(sample < 0, 0x80, 0) | segment << 4 | (biased >> (segment + 3) & 0x0F)
    inverted: NDArray[np.uint8] = (~code & 0xFF).astype(np.uint8)
    return inverted


def _alaw_codes() -> NDArray[np.uint8]:
    sample = np.arange(65_536, dtype=np.uint16).view(np.int16).astype(np.int32) >> 3
    magnitude = np.where(sample < 0, ~sample, sample)
    segment = np.maximum(_bit_length(magnitude) - 5, 0)
    code = segment << 4 | (magnitude >> np.maximum(segment, 1) & 0x0F)
    signed: NDArray[np.uint8] = (code ^ np.where(sample < 0, 0x55, 0xD5)).astype(np.uint8)
    return signed


def _bit_length(values: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.frexp(values.astype(np.float64))[1].astype(np.int32)


_MULAW_LEVELS: Final = _mulaw_levels()
_ALAW_LEVELS: Final = _alaw_levels()
_MULAW_CODES: Final = _mulaw_codes()
_ALAW_CODES: Final = _alaw_codes()
