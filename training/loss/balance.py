"""Weighing loss terms: by fixed weights, or by shares of the gradient at the codec's output."""

from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from grove.codec.config import Frozen
from grove.training.ranks import Ranks


class FixedBalance(Frozen):
    """Terms are added with their weights."""

    kind: Literal["fixed"] = "fixed"


class GradientBalance(Frozen):
    """EnCodec's balancer: weights are shares of the gradient's norm at the codec's output."""

    kind: Literal["gradient"] = "gradient"
    total_norm: float = Field(1.0, gt=0)
    decay: float = Field(0.999, ge=0, lt=1)


BalanceConfig = Annotated[FixedBalance | GradientBalance, Field(discriminator="kind")]


class Weighted(NamedTuple):
    """One term of the loss and its weight."""

    weight: float
    value: Tensor


class Balancer:
    """Returns one scalar to differentiate. Its running norms are part of a checkpoint."""

    def __init__(self, config: BalanceConfig) -> None:
        self.config = config
        self.norms: dict[str, float] = {}
        self.steps: dict[str, int] = {}

    def total(self, terms: dict[str, Weighted], output: Tensor, ranks: Ranks) -> Tensor:
        """Combine terms that depend on `output` [B, N]."""
        config = self.config
        if isinstance(config, FixedBalance):
            return torch.stack([term.weight * term.value for term in terms.values()]).sum()
        weights = sum(term.weight for term in terms.values())
        combined = torch.zeros_like(output)
        for name, term in terms.items():
            (gradient,) = torch.autograd.grad(term.value, output, retain_graph=True)
            mean = ranks.mean({name: gradient.norm(dim=1).mean()})[name]
            norm = self._smoothed(name, float(mean), config.decay)
            combined += config.total_norm * term.weight / weights * gradient / max(norm, 1e-12)
        # A scalar whose gradient at the output is `combined`: the rest of the graph is walked once.
        return (output * combined).sum()

    def _smoothed(self, name: str, norm: float, decay: float) -> float:
        """Return the running mean of a term's gradient norm, without a bias towards its start."""
        steps = self.steps[name] = self.steps.get(name, 0) + 1
        decay = min(decay, 1 - 1 / steps)
        self.norms[name] = decay * self.norms.get(name, 0.0) + (1 - decay) * norm
        return self.norms[name]
