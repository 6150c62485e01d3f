"""Frames of codes to bits and back: a code takes just the bits its book needs, level 0 first."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import cycle
from math import gcd

import numpy as np
import numpy.typing as npt

from grove.codec.config import CodecSpec
from grove.codec.errors import BitstreamError

Codes = npt.NDArray[np.uint16]
Bytes = npt.NDArray[np.uint8]

# Up to so many codes, whole numbers are quicker than the set-up of vectors.
_FEW_CODES = 64


@dataclass(frozen=True, slots=True)
class _Overlap:
    """One byte of the packed period and one code of it that share bits."""

    byte: int
    code: int
    shift: int  # how far the code's last bit lies before (positive) or behind the byte's last bit


@dataclass(frozen=True, slots=True)
class _Plan:
    """How frames of one level lie in bytes; the pattern repeats after `frames` frames."""

    frames: int
    byte_count: int
    widths: tuple[int, ...]
    overlaps: tuple[_Overlap, ...]


def packed_bytes(spec: CodecSpec, frame_count: int, level: int) -> int:
    """Return how many bytes `frame_count` frames of `level` levels take."""
    return (frame_count * spec.bits_at(_checked_level(spec, level)) + 7) // 8


def pack_frames(spec: CodecSpec, codes: npt.NDArray[np.integer], level: int) -> bytes:
    """Return codes [T, K] as bits; only the first `level` levels are kept."""
    used = _checked_codes(spec, codes, level)
    frame_count, byte_count = len(used), packed_bytes(spec, len(used), level)
    if byte_count == 0:
        return b""
    sizes = spec.code_sizes[: used.shape[1]]
    if used.size <= _FEW_CODES:
        return _numbers_to_bytes(used.ravel().tolist(), sizes)
    plan = _plan(sizes)
    periods = -(-frame_count // plan.frames)
    # One contiguous row per place in the period, so that each step is one long vector.
    padded = np.zeros((periods * plan.frames, used.shape[1]), np.uint16)
    padded[:frame_count] = used
    rows = np.ascontiguousarray(padded.reshape(periods, -1).T)
    packed = np.zeros((plan.byte_count, periods), np.uint8)
    for overlap in plan.overlaps:
        packed[overlap.byte] |= _shifted(rows[overlap.code], overlap.shift).astype(np.uint8)
    return packed.T.tobytes()[:byte_count]


def unpack_frames(spec: CodecSpec, data: bytes, frame_count: int, level: int) -> Codes:
    """Return codes [T, K] from bits; codes above `level` are 0."""
    expected = packed_bytes(spec, frame_count, level)
    if len(data) != expected:
        raise BitstreamError(
            f"{frame_count} frames of level {level} take {expected} bytes, got {len(data)}"
        )
    codes = np.zeros((frame_count, len(spec.code_sizes)), np.uint16)
    if expected == 0:
        return codes
    _check_padding(spec, data, frame_count, level)
    sizes = spec.code_sizes[: spec.codes_at(level)]
    if frame_count * len(sizes) <= _FEW_CODES:
        values = _bytes_to_numbers(data, sizes, frame_count)
        codes[:, : len(sizes)] = np.array(values).reshape(frame_count, -1)
        return codes
    plan = _plan(sizes)
    used = _code_rows(plan, np.frombuffer(data, np.uint8)).T.reshape(-1, len(sizes))
    codes[:, : len(sizes)] = used[:frame_count]
    _check_range(codes, sizes)
    return codes


def pack_packet(spec: CodecSpec, codes: npt.NDArray[np.integer], level: int) -> bytes:
    """Return one frame of codes [K] as the bytes of a packet; the same bits as a block of one."""
    if codes.shape != (len(spec.code_sizes),):
        raise BitstreamError(
            f"a frame has {len(spec.code_sizes)} codes, got the shape {codes.shape}"
        )
    _check_integers(codes)
    sizes = spec.code_sizes[: spec.codes_at(_checked_level(spec, level))]
    return _numbers_to_bytes(codes[: len(sizes)].tolist(), sizes)


def unpack_packet(spec: CodecSpec, packet: bytes, level: int) -> Codes:
    """Return the codes [K] of a packet of `level` levels; codes above are 0."""
    expected = packed_bytes(spec, 1, level)
    if len(packet) != expected:
        raise BitstreamError(
            f"a packet of level {level} has {expected} bytes, got {len(packet)} bytes"
        )
    _check_padding(spec, packet, 1, level)
    sizes = spec.code_sizes[: spec.codes_at(level)]
    codes = np.zeros(len(spec.code_sizes), np.uint16)
    codes[: len(sizes)] = _bytes_to_numbers(packet, sizes, 1)
    return codes


def _numbers_to_bytes(values: list[int], sizes: tuple[int, ...]) -> bytes:
    """Return the codes of some frames, one behind the other, as bits filled to whole bytes."""
    bits = bit_count = 0
    for value, (place, size) in zip(values, cycle(enumerate(sizes)), strict=False):
        if not 0 <= value < size:
            raise _out_of_range(value, place, size)
        width = (size - 1).bit_length()
        bits = bits << width | value
        bit_count += width
    unused = -bit_count % 8
    return (bits << unused).to_bytes((bit_count + unused) // 8, "big")


def _bytes_to_numbers(data: bytes, sizes: tuple[int, ...], frame_count: int) -> list[int]:
    """Return the codes that `_numbers_to_bytes` made the bytes of."""
    widths = [(size - 1).bit_length() for size in sizes]
    bits = int.from_bytes(data, "big") >> (8 * len(data) - frame_count * sum(widths))
    values = []
    for place in [*reversed(range(len(sizes)))] * frame_count:
        value = bits & ((1 << widths[place]) - 1)
        if value >= sizes[place]:
            raise _out_of_range(value, place, sizes[place])
        values.append(value)
        bits >>= widths[place]
    return values[::-1]


@lru_cache(maxsize=256)
def _plan(sizes: tuple[int, ...]) -> _Plan:
    widths = tuple((size - 1).bit_length() for size in sizes)
    frame_bits = sum(widths)
    frames = 8 // gcd(frame_bits, 8)
    overlaps = []
    position = 0
    for code, width in enumerate(widths * frames):
        end = position + width
        for byte in range(position // 8, (end - 1) // 8 + 1):
            overlaps.append(_Overlap(byte, code, 8 * (byte + 1) - end))
        position = end
    return _Plan(frames, position // 8, widths, tuple(overlaps))


def _code_rows(plan: _Plan, data: Bytes) -> Codes:
    """Return [codes of a period, periods] from packed bytes."""
    periods = -(-len(data) // plan.byte_count)
    padded = np.zeros(periods * plan.byte_count, np.uint8)
    padded[: len(data)] = data
    # 16 bits wide already, since a byte's bits may belong above the eighth bit of a code.
    packed = padded.reshape(periods, -1).T.astype(np.uint16, order="C")
    rows = np.zeros((len(plan.widths) * plan.frames, periods), np.uint16)
    for overlap in plan.overlaps:
        rows[overlap.code] |= _shifted(packed[overlap.byte], -overlap.shift)
    for code, width in enumerate(plan.widths * plan.frames):
        rows[code] &= np.uint16((1 << width) - 1)
    return rows


def _shifted(values: Codes, left: int) -> Codes:
    """Return values shifted left, or right where `left` is negative, within 16 bits."""
    if left >= 0:
        return np.left_shift(values, np.uint16(left))
    return np.right_shift(values, np.uint16(-left))


def _checked_level(spec: CodecSpec, level: int) -> int:
    if not 0 <= level <= spec.levels:
        raise BitstreamError(f"level {level} is outside 0..{spec.levels}")
    return level


def _checked_codes(
    spec: CodecSpec, codes: npt.NDArray[np.integer], level: int
) -> npt.NDArray[np.integer]:
    """Return the codes [T, n] that `level` keeps, each within its book."""
    if codes.ndim != 2 or codes.shape[1] != len(spec.code_sizes):
        raise BitstreamError(
            f"frames of codes have the shape [T, {len(spec.code_sizes)}], got {codes.shape}"
        )
    _check_integers(codes)
    used = codes[:, : spec.codes_at(_checked_level(spec, level))]
    _check_range(used, spec.code_sizes[: used.shape[1]])
    return used


def _check_integers(codes: npt.NDArray[np.integer]) -> None:
    if not np.issubdtype(codes.dtype, np.integer):
        raise BitstreamError(f"codes must be integers, got {codes.dtype}")


def _check_range(codes: npt.NDArray[np.integer], sizes: tuple[int, ...]) -> None:
    """Refuse codes [T, n or more] of which the first n are not within their books."""
    if codes.size == 0:
        return
    extremes = zip(codes.min(axis=0).tolist(), codes.max(axis=0).tolist(), strict=True)
    for place, (size, values) in enumerate(zip(sizes, extremes, strict=False)):
        for value in values:
            if not 0 <= value < size:
                raise _out_of_range(value, place, size)


def _out_of_range(value: int, place: int, size: int) -> BitstreamError:
    return BitstreamError(f"code {value} at place {place} is outside 0..{size - 1}")


def _check_padding(spec: CodecSpec, data: bytes, frame_count: int, level: int) -> None:
    # Bits nobody reads must be zero, or two files could hold the same frames.
    unused = -frame_count * spec.bits_at(level) % 8
    if unused and data[-1] & ((1 << unused) - 1):
        raise BitstreamError(f"the last {unused} bits of a packed block must be 0")
