"""The likelihood is that of the samples that the decoder would make: same place, same scale."""

import torch
from torch import Tensor

from grove.codec.config import CodecConfig, SubframeConfig, TrunkConfig
from grove.codec.model.mdct import Mdct
from grove.codec.model.subframes import Parts, SubframeHead
from grove.training.loss.likelihood import LikelihoodDistance

HOP, FRAMES = 480, 30
CONFIG = CodecConfig(decoder=TrunkConfig(width=16, blocks=1))


def head() -> SubframeHead:
    torch.manual_seed(0)
    return SubframeHead(CONFIG, SubframeConfig(net=TrunkConfig(width=16, blocks=1)))


def made_of(parts: Parts, of: SubframeHead) -> Tensor:
    """Return the sound of `parts` without its noise, aligned with the input of a codec."""
    pcm, _ = of.sound(parts, torch.zeros_like(parts.chance), torch.zeros(1, of.inverse.state_size))
    return pcm[:, of.delay_samples :]


def drawn(chance: float) -> Parts:
    generator = torch.Generator().manual_seed(1)
    coefficients = 0.1 * torch.randn(1, 4 * FRAMES, 120, generator=generator)
    coefficients[..., :8] = 0
    low = torch.zeros(1, FRAMES * HOP)
    still = torch.zeros_like(coefficients)
    return Parts(low, coefficients, still, still, torch.full_like(coefficients, chance))


def test_coefficients_that_make_the_original_are_the_likeliest() -> None:
    of = head()
    parts = drawn(0.01)
    original = made_of(parts, of)
    loss = LikelihoodDistance(of, CONFIG.sample_rate_hz)
    right = float(loss(parts, original))
    for shift in (1, -1):
        moved = parts._replace(certain=parts.certain.roll(shift, 1))
        assert right + 1 < float(loss(moved, original))


def test_chance_is_likeliest_at_the_size_of_what_is_uncertain() -> None:
    of = head()
    original = made_of(drawn(0.0), of)
    loss = LikelihoodDistance(of, CONFIG.sample_rate_hz)
    unknown = torch.zeros(1, 4 * FRAMES, 120)
    found = {
        size: float(loss(drawn(size)._replace(certain=unknown), original))
        for size in (0.03, 0.1, 0.3)
    }
    assert min(found, key=found.__getitem__) == 0.1


def test_what_the_low_band_carries_is_not_asked_for_again() -> None:
    of = head()
    sound = made_of(drawn(0.0), of)
    late = torch.nn.functional.pad(sound, (of.delay_samples, 0))
    nothing = torch.zeros(1, 4 * FRAMES, 120)
    parts = drawn(1e-3)._replace(low=late, certain=nothing)
    assert float(LikelihoodDistance(of, CONFIG.sample_rate_hz)(parts, sound)) < -6


def test_an_onset_out_of_nothing_has_a_finite_gradient() -> None:
    of = head()
    parts = drawn(1e-6)
    certain = torch.zeros_like(parts.certain).requires_grad_()
    LikelihoodDistance(of, CONFIG.sample_rate_hz)(
        parts._replace(certain=certain), made_of(drawn(0.0), of)
    ).backward()
    assert certain.grad is not None
    assert bool(certain.grad.isfinite().all())


def test_analysis_undoes_synthesis_at_the_subframe_rate() -> None:
    of = head()
    parts = drawn(0.0)
    pcm, _ = of.sound(parts, torch.zeros_like(parts.chance), torch.zeros(1, of.inverse.state_size))
    mdct: Mdct = LikelihoodDistance(of, CONFIG.sample_rate_hz).mdct
    found, _ = mdct(pcm, torch.zeros(1, mdct.state_size))
    assert torch.allclose(found[:, 1:], parts.certain[:, :-1], atol=1e-5)
