"""Optimizers by config."""

import torch
from torch import nn
from torch.optim import Optimizer

from grove.training.config import AdamwConfig


def build_optimizers(model: nn.Module, config: AdamwConfig) -> list[Optimizer]:
    """Return the optimizers of the trainable parameters; only matrices decay."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)]


def set_rate_factor(optimizers: list[Optimizer], factor: float) -> None:
    """Scale every group's rate from its configured one."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group.setdefault("base_lr", group["lr"])
            group["lr"] = group["base_lr"] * factor
