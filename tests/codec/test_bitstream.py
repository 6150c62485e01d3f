"""Frames to bits and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grove.codec.bitstream import (
    pack_frames,
    pack_packet,
    packed_bytes,
    unpack_frames,
    unpack_packet,
)
from grove.codec.config import CodecSpec
from grove.codec.errors import BitstreamError

GROVE = (1024,) * 12


def make_spec(code_sizes: tuple[int, ...], codes_per_level: tuple[int, ...]) -> CodecSpec:
    return CodecSpec(
        name="grove-24k",
        version="1.0.0",
        model_sha256="5" * 64,
        sample_rate_hz=24_000,
        hop_samples=480,
        delay_samples=240,
        code_sizes=code_sizes,
        codes_per_level=codes_per_level,
    )


SPEC = make_spec(GROVE, (2,) * 6)
GOLDEN_FRAMES = (
    "0006130923611e591aa7c2369f282b230ed539af84271b4b33e53f5158b74617976a3ba72fdd7bbf0808138943"
)
GOLDEN_PACKET = "230ed539af842710"


@st.composite
def specs(draw: st.DrawFn) -> CodecSpec:
    per_level = draw(st.lists(st.integers(1, 3), min_size=1, max_size=5))
    size = st.one_of(st.integers(2, 65_536), st.sampled_from([2, 3, 256, 257, 65_535, 65_536]))
    sizes = draw(st.lists(size, min_size=sum(per_level), max_size=sum(per_level)))
    return make_spec(tuple(sizes), tuple(per_level))


def random_codes(spec: CodecSpec, frame_count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    columns = [rng.integers(0, size, frame_count) for size in spec.code_sizes]
    return np.stack(columns, axis=1).astype(np.uint16)


def bits_one_by_one(spec: CodecSpec, codes: np.ndarray, level: int) -> bytes:
    """Pack as BITSTREAM.md words it, character by character."""
    text = "".join(
        format(int(code), f"0{(size - 1).bit_length()}b")
        for frame in codes
        for code, size in zip(frame[: spec.codes_at(level)], spec.code_sizes, strict=False)
    )
    text += "0" * (-len(text) % 8)
    return int(text or "0", 2).to_bytes(len(text) // 8, "big")


@given(spec=specs(), frame_count=st.integers(0, 40), seed=st.integers(0, 99), data=st.data())
def test_packing_follows_the_letter_of_the_law_and_unpacking_undoes_it(
    spec: CodecSpec, frame_count: int, seed: int, data: st.DataObject
) -> None:
    level = data.draw(st.integers(0, spec.levels))
    codes = random_codes(spec, frame_count, seed)
    packed = pack_frames(spec, codes, level)
    assert packed == bits_one_by_one(spec, codes, level)
    assert len(packed) == packed_bytes(spec, frame_count, level)
    kept = codes.copy()
    kept[:, spec.codes_at(level) :] = 0
    np.testing.assert_array_equal(unpack_frames(spec, packed, frame_count, level), kept)


@given(spec=specs(), seed=st.integers(0, 99), data=st.data())
def test_a_packet_is_a_block_of_one_frame(spec: CodecSpec, seed: int, data: st.DataObject) -> None:
    level = data.draw(st.integers(0, spec.levels))
    codes = random_codes(spec, 1, seed)
    packet = pack_packet(spec, codes[0], level)
    assert packet == pack_frames(spec, codes, level)
    np.testing.assert_array_equal(
        unpack_packet(spec, packet, level), unpack_frames(spec, packet, 1, level)[0]
    )


@given(spec=specs(), payload=st.binary(max_size=40), data=st.data())
def test_any_bytes_unpack_to_codes_that_pack_to_the_same_bytes_or_are_refused(
    spec: CodecSpec, payload: bytes, data: st.DataObject
) -> None:
    level = data.draw(st.integers(0, spec.levels))
    frame_count = data.draw(st.integers(0, 8))
    try:
        codes = unpack_frames(spec, payload, frame_count, level)
    except BitstreamError:
        return
    assert (codes < np.array(spec.code_sizes)).all()
    assert pack_frames(spec, codes, level) == payload


@given(spec=specs(), payload=st.binary(max_size=12), data=st.data())
def test_packets_refuse_what_blocks_refuse(
    spec: CodecSpec, payload: bytes, data: st.DataObject
) -> None:
    level = data.draw(st.integers(0, spec.levels))
    outcomes = []
    for unpack in (
        lambda: unpack_frames(spec, payload, 1, level)[0],
        lambda: unpack_packet(spec, payload, level),
    ):
        try:
            outcomes.append(unpack().tolist())
        except BitstreamError:
            outcomes.append(None)
    assert outcomes[0] == outcomes[1]


def test_bytes_of_version_1_never_change() -> None:
    codes = (np.arange(36).reshape(3, 12) * 97 % 1024).astype(np.uint16)
    packed = pack_frames(SPEC, codes, 6)
    assert packed.hex() == GOLDEN_FRAMES
    assert pack_packet(SPEC, codes[1], 3).hex() == GOLDEN_PACKET


def test_a_code_outside_its_book_is_refused_when_packing() -> None:
    small = make_spec((1000, 16), (1, 1))
    codes = np.array([[999, 3], [1000, 3]], np.uint16)
    for level in (1, 2):
        with pytest.raises(BitstreamError, match=r"code 1000 at place 0 is outside 0\.\.999"):
            pack_frames(small, codes, level)
        with pytest.raises(BitstreamError, match="code 1000 at place 0"):
            pack_packet(small, codes[1], level)
    with pytest.raises(BitstreamError, match="code -1 at place 1"):
        pack_frames(small, np.array([[5, -1]]), 2)


def test_codes_above_the_level_are_not_looked_at() -> None:
    small = make_spec((1000, 16), (1, 1))
    assert pack_frames(small, np.array([[5, 9999]], np.uint16), 1) == bytes([0b1, 0b01000000])


def test_a_code_outside_its_book_is_refused_when_unpacking() -> None:
    small = make_spec((1000,), (1,))
    packed = (1001 << 6).to_bytes(2, "big")
    with pytest.raises(BitstreamError, match="code 1001 at place 0"):
        unpack_frames(small, packed, 1, 1)
    with pytest.raises(BitstreamError, match="code 1001 at place 0"):
        unpack_packet(small, packed, 1)


def test_filling_bits_must_be_zero() -> None:
    small = make_spec((1000,), (1,))
    with pytest.raises(BitstreamError, match="last 6 bits"):
        unpack_frames(small, bytes([0, 1]), 1, 1)
    with pytest.raises(BitstreamError, match="last 6 bits"):
        unpack_packet(small, bytes([0, 1]), 1)


@pytest.mark.parametrize("level", [-1, 7])
def test_a_level_the_model_lacks_is_refused(level: int) -> None:
    codes = np.zeros((1, 12), np.uint16)
    for attempt in (
        lambda: pack_frames(SPEC, codes, level),
        lambda: unpack_frames(SPEC, b"", 1, level),
        lambda: pack_packet(SPEC, codes[0], level),
        lambda: unpack_packet(SPEC, b"", level),
    ):
        with pytest.raises(BitstreamError, match=r"outside 0\.\.6"):
            attempt()


@pytest.mark.parametrize("shape", [(12,), (3, 11), (1, 3, 12)])
def test_frames_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BitstreamError, match="shape"):
        pack_frames(SPEC, np.zeros(shape, np.uint16), 6)


def test_fractions_are_no_codes() -> None:
    codes = np.zeros((1, 12), np.float32)
    with pytest.raises(BitstreamError, match="float32"):
        pack_frames(SPEC, codes, 6)  # type: ignore[arg-type]
    with pytest.raises(BitstreamError, match="float32"):
        pack_packet(SPEC, codes[0], 6)  # type: ignore[arg-type]


def test_a_wrong_number_of_bytes_is_refused_with_both_numbers() -> None:
    with pytest.raises(BitstreamError, match="take 15 bytes, got 14"):
        unpack_frames(SPEC, bytes(14), 1, 6)
    with pytest.raises(BitstreamError, match="has 15 bytes, got 16"):
        unpack_packet(SPEC, bytes(16), 6)
