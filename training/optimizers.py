"""Optimizers by config."""

from collections.abc import Iterable
from typing import assert_never

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from training.config import AdamwConfig, MuonConfig, OptimizerConfig


class Muon(Optimizer):
    """Momentum whose matrix updates are orthogonalised; other parameters go by AdamW."""

    def __init__(self, parameters: Iterable[nn.Parameter], config: MuonConfig) -> None:
        super().__init__(list(parameters), {"lr": config.lr, "momentum": config.momentum})
        self.newton_schulz_steps = config.newton_schulz_steps
        self.weight_decay = config.weight_decay

    @torch.no_grad()
    def step(self, _closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, group["lr"], group["momentum"])

    def _update(self, p: nn.Parameter, lr: float, momentum: float) -> None:
        assert p.grad is not None
        state = self.state[p]
        buffer = state.setdefault("momentum", torch.zeros_like(p))
        buffer.lerp_(p.grad, 1 - momentum)
        update = orthogonalise(p.grad.lerp(buffer, momentum), self.newton_schulz_steps)
        p.mul_(1 - lr * self.weight_decay)
        p.add_(update, alpha=-lr * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)


def orthogonalise(matrix: Tensor, steps: int) -> Tensor:
    """Bring all singular values of a matrix near one by Newton-Schulz iterations."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x: Tensor = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def build_optimizers(model: nn.Module, config: OptimizerConfig) -> list[Optimizer]:
    """Return the optimizers of the trainable parameters; only matrices decay."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trainable if p.ndim >= 2]
    others = [p for p in trainable if p.ndim < 2]
    match config:
        case AdamwConfig():
            groups = [
                {"params": matrices, "weight_decay": config.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ]
            return [torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)]
        case MuonConfig():
            square = [p for p in matrices if p.ndim == 2]
            rest = [p for p in matrices if p.ndim > 2] + others
            return [
                Muon(square, config),
                torch.optim.AdamW(rest, lr=config.adamw_lr, betas=config.betas, weight_decay=0.0),
            ]
        case _:
            assert_never(config)


def set_rate_factor(optimizers: list[Optimizer], factor: float) -> None:
    """Scale every group's rate from its configured one."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group.setdefault("base_lr", group["lr"])
            group["lr"] = group["base_lr"] * factor
