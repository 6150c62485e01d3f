import numpy as np
import pytest

from grove.codec.errors import ConfigError
from grove.training.evaluation.packet_loss import burst_lengths, burst_losses, losses_of


def bursts_of(lost: np.ndarray) -> np.ndarray:
    edges = np.flatnonzero(np.diff(np.r_[0, lost.astype(int), 0]))
    return edges[1::2] - edges[::2]


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.2])
def test_the_share_of_lost_frames_is_the_rate(rate: float) -> None:
    lost = burst_losses(200_000, rate, np.random.default_rng(0))
    assert lost.mean() == pytest.approx(rate, rel=0.03)


def test_bursts_have_1_to_5_frames_with_the_stated_shares() -> None:
    lengths = bursts_of(burst_losses(400_000, 0.1, np.random.default_rng(1)))
    found = np.bincount(lengths, minlength=6)[1:] / len(lengths)
    expected_lengths, shares = burst_lengths()
    assert expected_lengths.tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(found, shares, atol=0.015)


def test_the_first_frame_is_lost_as_often_as_any_other() -> None:
    starts = [burst_losses(1, 0.2, np.random.default_rng(seed))[0] for seed in range(1000)]
    assert np.mean(starts) == pytest.approx(0.2, abs=0.03)


def test_a_clip_has_the_same_losses_whatever_system_asks() -> None:
    first = losses_of("a.wav", 500, 0.1, seed=3)
    np.testing.assert_array_equal(first, losses_of("a.wav", 500, 0.1, seed=3))
    np.testing.assert_array_equal(first[:400], losses_of("a.wav", 400, 0.1, seed=3))
    assert (first != losses_of("b.wav", 500, 0.1, seed=3)).any()
    assert (first != losses_of("a.wav", 500, 0.1, seed=4)).any()


def test_nothing_is_lost_at_rate_0() -> None:
    assert not losses_of("a.wav", 500, 0.0, seed=0).any()


@pytest.mark.parametrize("rate", [-0.1, 0.6])
def test_a_rate_out_of_range_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match=r"outside 0\.\.0\.5"):
        burst_losses(10, rate, np.random.default_rng(0))
