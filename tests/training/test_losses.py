"""The losses say what they claim to."""

import math

import pytest
import torch
from pystoi import stoi

from training.config import LossConfig
from training.losses import (
    EnvelopeDistance,
    LoudnessDistance,
    ReconstructionLoss,
    hertz_to_bark,
    mel_bank,
    signal_to_noise_db,
    triangles,
)

RATE_HZ = 24_000


def speech_like(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    times = torch.arange(RATE_HZ) / RATE_HZ
    harmonics = sum(torch.sin(2 * math.pi * 150 * k * times) / k for k in range(1, 20))
    noise = torch.randn(RATE_HZ, generator=generator)
    envelope = 0.5 + 0.5 * torch.sin(2 * math.pi * 4 * times)
    return (0.1 * envelope * (harmonics + 0.05 * noise))[None]


@pytest.fixture
def loss() -> ReconstructionLoss:
    return ReconstructionLoss(LossConfig(loudness=1.0, envelope=1.0), RATE_HZ)


ALL = [0, 1, 2, 3]
ONES = torch.ones(1)


def test_equal_signals_have_no_distance(loss: ReconstructionLoss) -> None:
    x = speech_like()
    assert all(float(term) == pytest.approx(0, abs=1e-3) for term in loss(x, x, ALL, ONES))


def test_every_term_grows_with_the_noise(loss: ReconstructionLoss) -> None:
    x = speech_like()
    noise = torch.randn_like(x) * x.std()
    near, far = (loss(x + gain * noise, x, ALL, ONES) for gain in (0.03, 0.3))
    for small, large in zip(near, far, strict=True):
        assert float(small) < float(large)


def test_level_normalised_terms_do_not_depend_on_the_level(loss: ReconstructionLoss) -> None:
    x = speech_like()
    y = x + 0.1 * x.std() * torch.randn_like(x)
    loud, quiet = loss(y * 2, x * 2, ALL, ONES), loss(y / 2, x / 2, ALL, ONES)
    for one, other in zip(loud, quiet, strict=True):
        assert float(one) == pytest.approx(float(other), rel=0.05)


def test_loudness_hears_nothing_of_what_is_masked() -> None:
    distance = LoudnessDistance(RATE_HZ)
    x = speech_like() / speech_like().std()
    hidden = x + 0.003 * torch.randn_like(x)
    louder = x + 0.3 * torch.randn_like(x)
    assert float(distance(hidden, x)) < 0.2 * float(distance(louder, x))


def test_added_energy_weighs_more_than_missing_energy() -> None:
    distance = LoudnessDistance(RATE_HZ)
    x = speech_like() / speech_like().std()
    extra = 0.5 * torch.randn_like(x)
    assert float(distance(x + extra, x)) > 1.2 * float(distance(x, x + extra))


def test_gradients_are_finite_at_silence(loss: ReconstructionLoss) -> None:
    y = torch.zeros(2, RATE_HZ, requires_grad=True)
    sum(loss(y, torch.zeros(2, RATE_HZ), ALL, ONES)).backward()
    assert y.grad is not None
    assert bool(torch.isfinite(y.grad).all())


def test_the_envelope_distance_is_that_of_stoi() -> None:
    generator = torch.Generator().manual_seed(5)
    x = 3 * speech_like()
    distance = EnvelopeDistance(RATE_HZ)
    for gain in (0.1, 0.3, 1.0, 3.0):
        y = x + gain * x.std() * torch.randn(x.shape, generator=generator)
        expected = 1 - stoi(x[0].numpy(), y[0].numpy(), RATE_HZ)
        assert float(distance(y, x)) == pytest.approx(expected, rel=0.15)


def test_the_envelope_distance_does_not_hear_phase_or_level() -> None:
    x = speech_like()
    assert float(EnvelopeDistance(RATE_HZ)(-0.5 * x, x)) == pytest.approx(0, abs=1e-4)


def test_the_envelope_distance_of_silence_or_of_a_snip_is_nothing() -> None:
    distance = EnvelopeDistance(RATE_HZ)
    assert float(distance(torch.randn(2, RATE_HZ), torch.zeros(2, RATE_HZ))) == 0
    assert float(distance(torch.randn(2, 1000), torch.randn(2, 1000))) == 0


def test_an_absent_loudness_weight_costs_no_computation() -> None:
    silent = ReconstructionLoss(LossConfig(loudness=0.0), RATE_HZ)
    x = speech_like()
    assert float(silent(x * 0.5, x, ALL, ONES).loudness) == 0


def test_mel_triangles_average_without_gain() -> None:
    bank = mel_bank(RATE_HZ, 1024, 80)
    flat = torch.ones(513) @ bank
    assert flat.max() <= 1 + 1e-5
    assert (flat > 0.99).sum() >= 75  # the lowest are narrower than a bin


def test_triangles_overlap_to_one() -> None:
    bank = triangles(torch.linspace(0, 10, 1001), 9)
    assert torch.allclose(bank.sum(1)[100:-100], torch.ones(801), atol=1e-5)


def test_bark_scale_has_its_known_points() -> None:
    found = hertz_to_bark(torch.tensor([100.0, 1_000.0, 8_000.0]))
    assert torch.allclose(found, torch.tensor([1.0, 8.5, 21.2]), atol=0.2)


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
    unfollowed = loss(y, x, ALL, torch.zeros(1))
    assert float(unfollowed.stft) == float(unfollowed.wave) == 0
    assert float(unfollowed.mel) == float(loss(y, x, ALL, ONES).mel) > 0


def test_without_shares_every_level_follows() -> None:
    loss = ReconstructionLoss(LossConfig(), RATE_HZ)
    assert loss.follow(torch.tensor([[1], [0], [6]])).tolist() == [1.0, 1.0, 1.0]
