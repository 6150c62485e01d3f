"""The distances that hear as people do."""

import math

import pytest
import torch
from training_cases import speech_like

from grove.training.loss.perceptual import LoudnessDistance, NoiseDistance, hertz_to_bark, triangles

RATE_HZ = 24_000


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


def test_triangles_overlap_to_one() -> None:
    bank = triangles(torch.linspace(0, 10, 1001), 9)
    assert torch.allclose(bank.sum(1)[100:-100], torch.ones(801), atol=1e-5)


def test_bark_scale_has_its_known_points() -> None:
    found = hertz_to_bark(torch.tensor([100.0, 1_000.0, 8_000.0]))
    assert torch.allclose(found, torch.tensor([1.0, 8.5, 21.2]), atol=0.2)


def tone(hertz: float, size: float) -> torch.Tensor:
    return size * torch.sin(2 * math.pi * hertz * torch.arange(RATE_HZ) / RATE_HZ)[None]


def test_noise_in_a_weak_band_counts_although_a_strong_one_is_clean() -> None:
    distance, x = NoiseDistance(RATE_HZ), tone(200, 1.4) + tone(2000, 0.1)
    at_its_own_level = x + tone(2100, 0.1)
    assert float(distance(at_its_own_level, x)) > 0.05
    assert float(distance(x + tone(220, 0.1), x)) < 0.5 * float(distance(at_its_own_level, x))


def test_noise_counts_most_where_it_is_as_strong_as_the_signal() -> None:
    torch.manual_seed(0)
    distance = NoiseDistance(RATE_HZ)
    x, noise = torch.randn(2, 1, RATE_HZ)
    steps = [float(distance(x + 10 ** (db / 20) * noise, x)) for db in (-24, -18, -3, 3, 18, 24)]
    inaudible, even, hopeless = (steps[n + 1] - steps[n] for n in (0, 2, 4))
    assert even > 3 * inaudible > 0
    assert even > 3 * hopeless > 0


def test_noise_is_between_none_and_all() -> None:
    distance, x = NoiseDistance(RATE_HZ), speech_like() / speech_like().std()
    assert float(distance(x, x)) == 0
    assert float(distance(torch.zeros_like(x), x)) == pytest.approx(0.5, abs=0.01)
    assert float(distance(100 * torch.randn_like(x), x)) > 0.9
