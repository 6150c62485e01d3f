"""The losses say what they claim to."""

from typing import Annotated

import pytest
import torch
from torch import Tensor
from training_cases import speech_like

from grove.training.data.config import Weight
from grove.training.loss.losses import ReconstructionLoss, signal_to_noise_db
from grove.training.loss.measures import Compared, FoundBy, Heard, Measure
from grove.training.loss.perceptual import mel_bank
from grove.training.loss.terms import LossConfig

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
) -> dict[str, Tensor]:
    """Return the terms of a decoder without chance or texture."""
    found: dict[str, Tensor] = loss(Heard(y, y, y), x, ALL, follow)
    return found


def test_equal_signals_have_no_distance(loss: ReconstructionLoss) -> None:
    x = speech_like()
    assert all(float(term) == pytest.approx(0, abs=5e-3) for term in terms(loss, x, x).values())


def test_every_term_grows_with_the_noise(loss: ReconstructionLoss) -> None:
    x = speech_like()
    noise = torch.randn_like(x) * x.std()
    near, far = (terms(loss, x + gain * noise, x) for gain in (0.03, 0.3))
    assert set(near) == set(loss.config.measured())
    for name in near:
        assert float(near[name]) < float(far[name])


def test_level_normalised_terms_do_not_depend_on_the_level(loss: ReconstructionLoss) -> None:
    x = speech_like()
    y = x + 0.1 * x.std() * torch.randn_like(x)
    loud, quiet = terms(loss, y * 2, x * 2), terms(loss, y / 2, x / 2)
    for name in loud:
        assert float(loud[name]) == pytest.approx(float(quiet[name]), rel=0.05)


def test_gradients_are_finite_at_silence(loss: ReconstructionLoss) -> None:
    y = torch.zeros(2, RATE_HZ, requires_grad=True)
    sum(terms(loss, y, torch.zeros(2, RATE_HZ)).values()).backward()
    assert y.grad is not None
    assert bool(torch.isfinite(y.grad).all())


def test_a_term_that_weighs_nothing_is_neither_built_nor_computed() -> None:
    alone = ReconstructionLoss(LossConfig(mel=0, stft=0, wave=1.0), RATE_HZ)
    x = speech_like()
    assert list(terms(alone, x * 0.5, x)) == ["wave"]
    assert [type(measure).__name__ for measure in alone.measures] == ["Wave"]


def test_terms_that_share_their_work_are_found_by_one_measure() -> None:
    loss = ReconstructionLoss(LossConfig(energy=1.0, colour=1.0), RATE_HZ)
    assert list(loss.terms) == ["mel", "stft", "wave", "energy", "colour"]
    assert [type(measure).__name__ for measure in loss.measures] == [
        "Scales",
        "Wave",
        "Spectrograms",
    ]


class Peak(Measure):
    """How far the loudest samples are apart."""

    def forward(self, compared: Compared) -> dict[str, Tensor]:
        return {"peak": (compared.heard.pcm.abs().amax() - compared.original.abs().amax()).abs()}


class WiderConfig(LossConfig):
    """The table with one entry more."""

    peak: Annotated[Weight, FoundBy(Peak)] = 1.0


def test_a_new_term_is_one_entry_of_the_table() -> None:
    loss = ReconstructionLoss(WiderConfig(mel=0, stft=0, level_normalised=False), RATE_HZ)
    x = speech_like()
    found = terms(loss, 0.5 * x, x)
    assert list(found) == ["wave", "peak"]
    assert float(found["peak"]) == pytest.approx(float(x.abs().amax()) / 2)
    without = ReconstructionLoss(WiderConfig(mel=0, stft=0, peak=0), RATE_HZ)
    assert list(terms(without, x, x)) == ["wave"]


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
    assert float(unfollowed["stft"]) == float(unfollowed["wave"]) == 0
    assert float(unfollowed["mel"]) == float(terms(loss, y, x)["mel"]) > 0


def test_without_shares_every_level_follows() -> None:
    loss = ReconstructionLoss(LossConfig(), RATE_HZ)
    assert loss.follow(torch.tensor([[1], [0], [6]])).tolist() == [1.0, 1.0, 1.0]
