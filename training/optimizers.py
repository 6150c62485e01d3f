"""Optimizers by config, and their rate over a stage."""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import nn
from torch.optim import Optimizer

from grove.codec.config import Frozen
from grove.training.data.config import Share, Weight


class AdamwConfig(Frozen):
    """AdamW with warm-up and a cosine down to `floor_ratio` of the rate at the stage's end."""

    kind: Literal["adamw"] = "adamw"
    lr: float = Field(1.2e-3, gt=0)
    betas: tuple[Share, Share] = (0.8, 0.99)
    weight_decay: Weight = 0.01
    warmup_steps: int = Field(100, ge=0)
    floor_ratio: Share = 0.05
    grad_clip: float = Field(1.0, gt=0)


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


def rate_factor(config: AdamwConfig, step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to the floor at the end of the stage."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    return warm * (config.floor_ratio + (1 - config.floor_ratio) * cosine)
