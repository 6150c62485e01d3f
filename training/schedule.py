"""The schedule: where in the recipe a step lies."""

from typing import NamedTuple

from grove.training.config import Recipe, StageConfig


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
