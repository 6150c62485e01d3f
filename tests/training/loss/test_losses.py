"""The losses say what they claim to."""

import pytest
import torch
from torch import Tensor
from training_cases import speech_like

from grove.training.config import LossConfig
from grove.training.loss.energy_distance import Heard
from grove.training.loss.losses import ReconstructionLoss, ReconstructionTerms, signal_to_noise_db
from grove.training.loss.perceptual import mel_bank

RATE_HZ = 24_000


@pytest.fixture
def loss() -> ReconstructionLoss:
    return ReconstructionLoss(
        LossConfig(
            loudness=1.0,
            noise=1.0,
            disturbance=1.0,
            energy=1.0,
            low_band=1.0,
            colour=1.0,
        ),
        RATE_HZ,
    )


ALL = [0, 1, 2, 3]
ONES = torch.ones(1)


def terms(
    loss: ReconstructionLoss, y: Tensor, x: Tensor, follow: Tensor = ONES
) -> ReconstructionTerms:
    """Return the terms of a decoder without chance or texture."""
    found: ReconstructionTerms = loss(Heard(y, y, y), x, ALL, follow)
    return found


def test_equal_signals_have_no_distance(loss: ReconstructionLoss) -> None:
    x = speech_like()
    assert all(float(term) == pytest.approx(0, abs=5e-3) for term in terms(loss, x, x))


def test_every_term_grows_with_the_noise(loss: ReconstructionLoss) -> None:
    x = speech_like()
    noise = torch.randn_like(x) * x.std()
    near, far = (terms(loss, x + gain * noise, x) for gain in (0.03, 0.3))
    for small, large in zip(near, far, strict=True):
        assert float(small) < float(large)


def test_level_normalised_terms_do_not_depend_on_the_level(loss: ReconstructionLoss) -> None:
    x = speech_like()
    y = x + 0.1 * x.std() * torch.randn_like(x)
    loud, quiet = terms(loss, y * 2, x * 2), terms(loss, y / 2, x / 2)
    for one, other in zip(loud, quiet, strict=True):
        assert float(one) == pytest.approx(float(other), rel=0.05)


def test_gradients_are_finite_at_silence(loss: ReconstructionLoss) -> None:
    y = torch.zeros(2, RATE_HZ, requires_grad=True)
    sum(terms(loss, y, torch.zeros(2, RATE_HZ))).backward()
    assert y.grad is not None
    assert bool(torch.isfinite(y.grad).all())


def test_an_absent_loudness_weight_costs_no_computation() -> None:
    silent = ReconstructionLoss(LossConfig(loudness=0.0), RATE_HZ)
    x = speech_like()
    assert float(terms(silent, x * 0.5, x).loudness) == 0


def test_mel_triangles_average_without_gain() -> None:
    bank = mel_bank(RATE_HZ, 1024, 80)
    flat = torch.ones(513) @ bank
    assert flat.max() <= 1 + 1e-5
    assert (flat > 0.99).sum() >= 75  # the lowest are narrower than a bin


def test_signal_to_noise_is_in_decibels_and_bounded() -> None:
    x = speech_like()
    noise = torch.randn_like(x)
    noise *= x.square().sum().sqrt() / noise.square().sum().sqrt() / 10
    assert float(signal_to_noise_db(x + noise, x)) == pytest.approx(20, abs=0.01)
    assert float(signal_to_noise_db(x, x)) == 40


def test_low_levels_follow_the_waveform_less() -> None:
    loss = ReconstructionLoss(LossConfig(follow_by_level=(0.0, 0.5, 1.0)), RATE_HZ)
    levels = torch.tensor([[1, 1], [2, 0], [3, 3], [6, 6]])
    assert loss.follow(levels).tolist() == [0.0, 0.5, 1.0, 1.0]
    x = speech_like()
    y = x.roll(7, 1)
    unfollowed = terms(loss, y, x, torch.zeros(1))
    assert float(unfollowed.stft) == float(unfollowed.wave) == 0
    assert float(unfollowed.mel) == float(terms(loss, y, x).mel) > 0


def test_without_shares_every_level_follows() -> None:
    loss = ReconstructionLoss(LossConfig(), RATE_HZ)
    assert loss.follow(torch.tensor([[1], [0], [6]])).tolist() == [1.0, 1.0, 1.0]
