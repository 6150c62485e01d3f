"""Discriminators tell two signals apart, and the codec can learn from them."""

import pytest
import torch

from grove.training.loss.adversary import Adversary, AdversaryConfig, to_listening_level
from grove.training.loss.discriminators import (
    BandSplitConfig,
    DiscriminatorConfig,
    MpdConfig,
    MsstftdConfig,
    SpectrogramConfig,
    build_discriminators,
)
from grove.training.optimizers import AdamwConfig
from grove.training.ranks import Ranks

ALONE = Ranks(0, 1, torch.device("cpu"))
NETS: list[DiscriminatorConfig] = [
    MpdConfig(periods=(2, 3), channels_divisor=32),
    MsstftdConfig(filters=8, windows=(256,)),
    BandSplitConfig(filters=4, windows=(256,)),
    SpectrogramConfig(windows=(256,)),
    SpectrogramConfig(windows=(256,), band_share=0.5),
]


def signals(batch: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Return noise as fake, tones as real."""
    generator = torch.Generator().manual_seed(1)
    times = torch.arange(4_800) / 24_000
    pitches = torch.rand(batch, 1, generator=generator) * 400 + 100
    tones = 0.2 * torch.sin(2 * torch.pi * pitches * times)
    return 0.1 * torch.randn(batch, 4_800, generator=generator), tones


@pytest.mark.parametrize("config", NETS, ids=lambda config: config.kind)
@pytest.mark.parametrize("loss", ["hinge", "lsgan"])
def test_discriminators_learn_to_tell_noise_from_tones(
    config: DiscriminatorConfig, loss: str
) -> None:
    torch.manual_seed(0)
    adversary = Adversary(
        AdversaryConfig(nets=(config,), loss=loss, optimizer=AdamwConfig(lr=5e-3, warmup_steps=0))
    )
    fake, real = signals()
    steps = [float(adversary.learn(fake, real, ALONE, 1.0)["discriminator"]) for _ in range(80)]
    assert steps[-1] < 0.5 * steps[0]


@pytest.mark.parametrize("config", NETS, ids=lambda config: config.kind)
def test_the_codec_gets_a_gradient_and_the_discriminators_none(config: DiscriminatorConfig) -> None:
    adversary = Adversary(AdversaryConfig(nets=(config,)))
    fake, real = signals()
    fake.requires_grad_()
    fooled = adversary.codec_losses(fake, real)
    (fooled.adversarial + fooled.feature_matching).backward()
    assert fake.grad is not None
    assert float(fake.grad.abs().sum()) > 0
    assert all(p.grad is None for p in adversary.parameters())
    assert all(p.requires_grad for p in adversary.parameters())


@pytest.mark.parametrize("config", NETS, ids=lambda config: config.kind)
def test_equal_signals_match_in_every_feature(config: DiscriminatorConfig) -> None:
    adversary = Adversary(AdversaryConfig(nets=(config,)))
    _, real = signals()
    assert float(adversary.codec_losses(real, real).feature_matching) == 0


@pytest.mark.parametrize("config", NETS, ids=lambda config: config.kind)
def test_any_length_is_judged(config: DiscriminatorConfig) -> None:
    for net in build_discriminators(config):
        for samples in (4_800, 4_801, 5_333):
            judged = net(torch.randn(2, samples))
            assert all(bool(torch.isfinite(j.logits).all()) for j in judged)


def test_both_signals_get_the_gain_of_the_real_one() -> None:
    fake, real = signals()
    one, other = to_listening_level(fake, real)
    assert torch.allclose(one / fake, other[:, 1:2] / real[:, 1:2], rtol=1e-4)
    assert torch.allclose(other.square().mean(1).sqrt(), torch.tensor(0.1), atol=2e-3)


def test_a_saved_adversary_continues_alike() -> None:
    config = AdversaryConfig(nets=(NETS[2],))
    fake, real = signals()
    one = Adversary(config)
    one.learn(fake, real, ALONE, 0.5)
    other = Adversary(config)
    other.load(one.content())
    assert one.learn(fake, real, ALONE, 1.0) == other.learn(fake, real, ALONE, 1.0)


def test_a_rate_of_nothing_moves_no_weight() -> None:
    adversary = Adversary(AdversaryConfig(nets=(NETS[2],)))
    before = [p.detach().clone() for p in adversary.nets.parameters()]
    adversary.learn(*signals(), ALONE, 0.0)
    assert all(map(torch.equal, before, adversary.nets.parameters()))
    adversary.learn(*signals(), ALONE, 1.0)
    assert not all(map(torch.equal, before, adversary.nets.parameters()))


def test_a_share_of_the_crop_is_heard_at_the_same_place_of_both() -> None:
    config = AdversaryConfig(nets=(SpectrogramConfig(windows=(256,)),), heard_share=0.5)
    adversary = Adversary(config)
    times = torch.arange(4_800.0).repeat(2, 1)
    places = set()
    for _ in range(8):
        fake, real = adversary._hear(times, times + 1)
        assert fake.shape == (2, 2_400)
        assert torch.equal(fake + 1, real)
        places.add(float(fake[0, 0]))
    assert len(places) > 1


def test_what_lies_above_the_judged_band_is_not_judged() -> None:
    torch.manual_seed(0)
    time = torch.arange(4_800) / 24_000
    tones = torch.randn(2, 4_800) + (2 * torch.pi * 10_000 * time).sin()
    whole, foot = (
        Adversary(AdversaryConfig(nets=(SpectrogramConfig(windows=(256,), band_share=share),)))
        for share in (1.0, 0.5)
    )
    without = tones - (2 * torch.pi * 10_000 * time).sin()
    for adversary, hears in ((whole, True), (foot, False)):
        one, other = (adversary.judge(x)[0].logits for x in (tones, without))
        assert torch.allclose(one, other, atol=1e-4) is not hears
