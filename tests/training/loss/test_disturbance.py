"""The trainable disturbance says what PESQ-WB says."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from pesq import pesq
from torch import Tensor
from training_cases import speech_like

from grove.training.loss.disturbance import DisturbanceDistance, opinion

RATE_HZ, SCORED_HZ = 24_000, 16_000
SPEECH = Path(__file__).parents[2] / "fixtures" / "speech-033.flac"


@pytest.fixture(scope="module")
def speech() -> Tensor:
    samples, rate_hz = soundfile.read(SPEECH, dtype="float32")
    assert rate_hz == RATE_HZ
    return torch.from_numpy(samples[: 4 * RATE_HZ])[None]


def scored(decoded: Tensor, reference: Tensor) -> float:
    def resampled(signal: Tensor) -> NDArray[np.float32]:
        return np.asarray(soxr.resample(signal[0].numpy(), RATE_HZ, SCORED_HZ), np.float32)

    return float(pesq(SCORED_HZ, resampled(reference), resampled(decoded), "wb"))


def noisy(speech: Tensor, share: float) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return speech + share * speech.std() * torch.randn(speech.shape, generator=generator)


def low_passed(speech: Tensor, share: float) -> Tensor:
    spectrum = torch.fft.rfft(speech)
    spectrum[:, round(share * spectrum.shape[1]) :] = 0
    return torch.fft.irfft(spectrum, speech.shape[1])


def clipped(speech: Tensor, share: float) -> Tensor:
    most = share * float(speech.abs().max())
    return speech.clamp(-most, most)


@pytest.mark.parametrize(
    ("damage", "shares"),
    [(noisy, (0.01, 0.03, 0.1, 0.3)), (low_passed, (0.15, 0.25, 0.4)), (clipped, (0.1, 0.3))],
)
def test_its_opinion_is_near_that_of_pesq(
    damage: Callable[[Tensor, float], Tensor], shares: tuple[float, ...], speech: Tensor
) -> None:
    distance = DisturbanceDistance(RATE_HZ)
    for share in shares:
        worse = damage(speech, share)
        guessed = float(opinion(distance(worse, speech)))
        assert guessed == pytest.approx(scored(worse, speech), abs=0.35), share


def test_equal_signals_are_at_no_distance_whatever_their_level(speech: Tensor) -> None:
    distance = DisturbanceDistance(RATE_HZ)
    assert float(distance(speech, speech)) < 0.01
    assert float(distance(0.25 * speech, speech)) < 0.01
    assert float(opinion(distance(speech, speech))) == pytest.approx(4.64, abs=0.01)


def test_its_gradient_is_finite_at_silence_and_in_a_snip() -> None:
    distance = DisturbanceDistance(RATE_HZ)
    for reference in (torch.zeros(2, RATE_HZ), speech_like(), speech_like()[:, :800]):
        decoded = torch.zeros_like(reference, requires_grad=True)
        distance(decoded, reference).backward()
        assert decoded.grad is not None
        assert bool(torch.isfinite(decoded.grad).all())


def test_clips_of_a_batch_do_not_hear_each_other(speech: Tensor) -> None:
    distance = DisturbanceDistance(RATE_HZ)
    pair = torch.cat([speech, speech.flip(1)])
    worse = noisy(pair, 0.1)
    alone = [distance.each(worse[i : i + 1], pair[i : i + 1])[0] for i in range(2)]
    assert torch.allclose(distance.each(worse, pair), torch.stack(alone), atol=1e-5)


def test_another_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="16000"):
        DisturbanceDistance(16_000)
