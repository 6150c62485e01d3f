"""The energy distance is smallest where draws are as loud, and as unlike, as the originals are."""

import pytest
import torch
from torch import Tensor

from grove.training.loss.energy_distance import EnergyDistance
from grove.training.loss.measures import Heard

RATE_HZ = 24_000
SCALES = ((256, 20), (512, 40))
ALL, ONES = (0, 1), torch.ones(8)


def noise(seed: int) -> Tensor:
    return torch.randn(8, RATE_HZ // 2, generator=torch.Generator().manual_seed(seed))


def of(pcm: Tensor, twin: Tensor | None = None) -> Heard:
    return Heard(pcm, pcm if twin is None else twin, pcm)


def tone(hertz: float, size: float) -> Tensor:
    time = torch.arange(RATE_HZ // 2) / RATE_HZ
    return (size * (2 * torch.pi * hertz * time).sin()).expand(8, -1)


def distance(draws: tuple[Tensor, Tensor], repulsion: float = 1.0) -> float:
    loss = EnergyDistance(RATE_HZ, SCALES, repulsion)
    return float(loss(of(*draws), noise(0), ALL, ONES).distance)


def test_noise_is_best_drawn_at_its_own_level() -> None:
    found = {gain: distance((gain * noise(1), gain * noise(2))) for gain in (0.5, 0.8, 1, 1.25, 2)}
    assert min(found, key=found.__getitem__) == 1


def test_without_repulsion_nothing_is_gained_by_drawing() -> None:
    drawn, said_twice = distance((noise(1), noise(2)), 0.0), distance((noise(1), noise(1)), 0.0)
    assert drawn == pytest.approx(said_twice, rel=0.01)


def test_draws_that_differ_beat_one_pattern_said_twice() -> None:
    assert distance((noise(1), noise(2))) < distance((noise(1), noise(1)))


def test_the_original_itself_has_no_distance() -> None:
    assert distance((noise(0), noise(0))) == pytest.approx(0, abs=1e-5)


def test_colour_hears_the_level_and_nothing_of_the_waveform() -> None:
    loss = EnergyDistance(RATE_HZ, SCALES, 1.0)
    long = torch.randn(8, 4 * RATE_HZ, generator=torch.Generator().manual_seed(3))
    same = loss(of(-long), long, ALL, ONES).colour
    louder = loss(of(2 * long), long, ALL, ONES).colour
    assert float(same) == pytest.approx(0, abs=1e-5)
    assert float(louder) == pytest.approx(torch.tensor(4.0).log().item(), rel=0.02)


def test_the_low_band_counts_by_how_much_a_clip_follows() -> None:
    loss = EnergyDistance(RATE_HZ, SCALES, 1.0)
    draws, x = of(noise(1), noise(2)), noise(0)
    assert float(loss(draws, x, ALL, torch.zeros(8)).low_band) == 0
    assert float(loss(draws, x, ALL, ONES).low_band) > 0
    assert float(loss(draws, x, (0,), ONES).low_band) == 0  # its window is too short to tell


def test_a_band_counts_by_what_it_has_itself_and_not_by_the_loudest() -> None:
    loss = EnergyDistance(RATE_HZ, SCALES, 1.0)
    original = tone(150, 1.0) + tone(700, 0.1)
    without_loud, without_quiet = tone(700, 0.1), tone(150, 1.0)
    lost = [
        float(loss(of(kept), original, ALL, ONES).low_band)
        for kept in (without_loud, without_quiet)
    ]
    assert lost[1] > 0.3 * lost[0]


def test_the_waveform_is_heard_without_its_texture() -> None:
    loss = EnergyDistance(RATE_HZ, SCALES, 1.0)
    x = noise(0)
    assert float(loss(Heard(noise(1), noise(2), x), x, ALL, ONES).low_band) < 1e-3
