import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grove.codec.channels import down_mix, join_channels, split_channels


@given(channels=st.integers(1, 8), cuts=st.lists(st.integers(0, 200), max_size=8))
def test_a_mix_does_not_depend_on_how_the_audio_was_chunked(channels: int, cuts: list[int]) -> None:
    block = np.random.default_rng(channels).standard_normal((200, channels)).astype(np.float32)
    pieces = [down_mix(piece) for piece in np.split(block, sorted(cuts))]
    assert np.concatenate(pieces).tobytes() == down_mix(block).tobytes()


@pytest.mark.parametrize("channels", range(1, 9))
def test_a_mix_is_the_mean_of_the_channels(channels: int) -> None:
    block = np.random.default_rng(1).standard_normal((100, channels)).astype(np.float32)
    np.testing.assert_allclose(down_mix(block), block.mean(axis=1, dtype=np.float64), atol=1e-6)


def test_equal_channels_mix_to_themselves() -> None:
    mono = np.random.default_rng(1).standard_normal((100, 1)).astype(np.float32)
    for channels in (1, 2, 4, 8):
        np.testing.assert_array_equal(down_mix(np.repeat(mono, channels, axis=1)), mono[:, 0])


def test_split_channels_join_to_the_same_block() -> None:
    block = np.random.default_rng(1).standard_normal((100, 2)).astype(np.float32)
    left, right = split_channels(block)
    np.testing.assert_array_equal(left, block[:, 0])
    np.testing.assert_array_equal(join_channels((left, right)), block)
