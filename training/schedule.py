"""The schedule: where in the recipe a step lies, and how large its learning rate is."""

import math
from typing import NamedTuple

from grove.training.config import AdamwConfig, Recipe, StageConfig


class Position(NamedTuple):
    """A step of the run as a step of one of its stages."""

    number: int
    stage: StageConfig
    step: int  # within the stage


def locate(recipe: Recipe, step: int) -> Position:
    """Return the stage that `step` belongs to."""
    for number, stage in enumerate(recipe.stages):
        if step < stage.steps:
            return Position(number, stage, step)
        step -= stage.steps
    raise ValueError(f"step is {step} past the last of {recipe.total_steps}")


def rate_factor(config: AdamwConfig, step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to the floor at the end of the stage."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    return warm * (config.floor_ratio + (1 - config.floor_ratio) * cosine)
