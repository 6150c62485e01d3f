"""The discriminators of a stage, how they learn, and what the codec hears of them."""

from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from grove.codec.config import Frozen
from grove.training.loss.discriminators import (
    DiscriminatorConfig,
    Judgement,
    MpdConfig,
    MsstftdConfig,
    build_discriminators,
)
from grove.training.optimizers import AdamwConfig, build_optimizers, set_rate_factor
from grove.training.ranks import Ranks

_RMS_FLOOR = 1e-3
_LISTENING_RMS = 0.1


class AdversaryConfig(Frozen):
    """The discriminators of a stage and how they are trained."""

    nets: tuple[DiscriminatorConfig, ...] = Field((MpdConfig(), MsstftdConfig()), min_length=1)
    loss: Literal["hinge", "lsgan"] = "hinge"
    optimizer: AdamwConfig = AdamwConfig(lr=3e-4)
    every_steps: int = Field(1, ge=1)
    """The discriminators learn on every n-th step."""
    head_start_steps: int = Field(0, ge=0)
    """Steps in which they learn and the codec does not hear of them yet."""
    heard_share: float = Field(1.0, gt=0, le=1)
    """Share of each crop that they hear, at a place drawn anew each time: less is faster."""


class Fooled(NamedTuple):
    """The codec's adversarial terms."""

    adversarial: Tensor
    feature_matching: Tensor


class Adversary(nn.Module):
    """All discriminators and their optimizer."""

    def __init__(self, config: AdversaryConfig) -> None:
        super().__init__()
        self.config = config
        self.nets = nn.ModuleList(net for part in config.nets for net in build_discriminators(part))
        self.optimizers = build_optimizers(self, config.optimizer)

    def judge(self, signal: Tensor) -> list[Judgement]:
        return [judgement for net in self.nets for judgement in net(signal)]

    def learn(
        self, fake: Tensor, real: Tensor, ranks: Ranks, rate_factor: float
    ) -> dict[str, Tensor]:
        """Take one step, its rate times `rate_factor`, towards telling fake [B, N] from real."""
        fake, real = to_listening_level(*self._hear(fake, real))
        # One pass over both: half the calls, and small kernels are what a CPU pays for.
        both = self.judge(torch.cat([fake, real]))
        pairs = [judgement.logits.chunk(2) for judgement in both]
        loss = torch.stack([self._apart(*pair) for pair in pairs]).mean()
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        parameters = list(self.nets.parameters())
        ranks.average_gradients(parameters)
        nn.utils.clip_grad_norm_(parameters, self.config.optimizer.grad_clip)
        set_rate_factor(self.optimizers, rate_factor)
        for optimizer in self.optimizers:
            optimizer.step()
        return {"discriminator": loss.detach()}

    def codec_losses(self, fake: Tensor, real: Tensor) -> Fooled:
        """Return what the codec should lower: being found out, and differing in features."""
        fake, real = to_listening_level(*self._hear(fake, real))
        self.nets.requires_grad_(False)
        on_fake = self.judge(fake)
        with torch.no_grad():
            on_real = self.judge(real)
        self.nets.requires_grad_(True)
        adversarial = torch.stack([self._fooling(j.logits) for j in on_fake]).mean()
        distances = [
            feature_distance(y, x)
            for judged, expected in zip(on_fake, on_real, strict=True)
            for y, x in zip(judged.features, expected.features, strict=True)
        ]
        return Fooled(adversarial, torch.stack(distances).mean())

    def _hear(self, fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same drawn stretch of both."""
        samples = real.shape[1]
        heard = round(self.config.heard_share * samples)
        start = int(torch.randint(samples - heard + 1, ()))
        return fake[:, start : start + heard], real[:, start : start + heard]

    def _apart(self, fake: Tensor, real: Tensor) -> Tensor:
        if self.config.loss == "hinge":
            return F.relu(1 + fake).mean() + F.relu(1 - real).mean()
        return fake.square().mean() + (real - 1).square().mean()

    def _fooling(self, fake: Tensor) -> Tensor:
        if self.config.loss == "hinge":
            return -fake.mean()
        return (fake - 1).square().mean()

    def content(self) -> dict[str, Any]:
        """Return what a checkpoint needs."""
        return {
            "nets": self.nets.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def take(self, weights: dict[str, Tensor]) -> None:
        """Begin with discriminators of another run, if they are the same ones."""
        own = self.nets.state_dict()
        if {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in weights.items()}:
            self.nets.load_state_dict(weights)

    def load(self, content: dict[str, Any]) -> None:
        self.nets.load_state_dict(content["nets"])
        for optimizer, state in zip(self.optimizers, content["optimizers"], strict=True):
            optimizer.load_state_dict(state)


def to_listening_level(fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Scale both by the real signal's level, so that quiet clips are judged as sternly."""
    gain = _LISTENING_RMS / (real.square().mean(1, keepdim=True).sqrt() + _RMS_FLOOR)
    return fake.float() * gain, real.float() * gain


def feature_distance(fake: Tensor, real: Tensor) -> Tensor:
    """L1 relative to the real features' own size."""
    return (fake - real).abs().mean() / real.abs().mean().clamp_min(1e-5)
