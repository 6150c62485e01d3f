"""Recipes: defaults, inheritance by stages, and errors that name what is wrong."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from grove.codec.errors import ConfigError
from grove.training.config import (
    AdversarialStage,
    Recipe,
    ReconstructionStage,
    RefineStage,
    load_recipe,
)
from grove.training.loss.terms import LossConfig
from grove.training.optimizers import AdamwConfig

SMALL = "stages: [{kind: reconstruction, steps: 10}]\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "small.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_one_line_is_a_recipe_with_the_prototype_settings(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, SMALL))
    assert recipe.name == "small"
    assert (recipe.batch, recipe.crop_samples, recipe.total_steps) == (12, 16_800, 10)
    assert recipe.optimizer == AdamwConfig(lr=1.2e-3, betas=(0.8, 0.99))
    losses = recipe.losses
    assert (losses.mel, losses.stft, losses.wave, losses.commitment) == (5, 3, 2, 1)
    assert losses.loudness == 0


def test_a_stage_keeps_what_it_does_not_override(tmp_path: Path) -> None:
    text = """
losses: {mel: 7, wave: 4}
optimizer: {lr: 1e-3, warmup_steps: 7}
stages:
- {kind: reconstruction, steps: 10, unquantized_steps: 3}
- {kind: adversarial, steps: 20, losses: {mel: 2}, optimizer: {lr: 2e-4}}
- {kind: refine, steps: 30, optimizer: {betas: [0.5, 0.9]}}
"""
    recipe = load_recipe(write(tmp_path, text))
    first, second, third = recipe.stages
    assert isinstance(first, ReconstructionStage)
    assert isinstance(second, AdversarialStage)
    assert isinstance(third, RefineStage)
    assert first.losses == LossConfig(mel=7, wave=4)
    assert second.losses == LossConfig(mel=2, wave=4)
    assert second.optimizer == AdamwConfig(lr=2e-4, warmup_steps=7)
    assert third.optimizer == AdamwConfig(lr=1e-3, warmup_steps=7, betas=(0.5, 0.9))
    assert recipe.total_steps == 60


def test_stages_given_as_values_inherit_too() -> None:
    stage = AdversarialStage(steps=5, losses=LossConfig(mel=2))
    recipe = Recipe(
        name="x", losses=LossConfig(wave=9), optimizer=AdamwConfig(lr=0.02), stages=(stage,)
    )
    assert recipe.stages[0].losses == LossConfig(mel=2, wave=9)
    assert recipe.stages[0].optimizer == AdamwConfig(lr=0.02)


def test_a_resolved_recipe_loads_back_as_itself(tmp_path: Path) -> None:
    text = "losses: {mel: 7}\noptimizer: {kind: adamw, lr: 0.002}\n" + SMALL
    recipe = load_recipe(write(tmp_path, text))
    resolved = yaml.safe_dump(recipe.model_dump(mode="json"))
    assert load_recipe(write(tmp_path, resolved)) == recipe


def test_a_recipe_cannot_be_changed(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, SMALL))
    with pytest.raises(ValidationError, match="frozen"):
        recipe.batch = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (SMALL + "bacth: 3\n", "bacth: Extra inputs"),
        (SMALL + "losses: {mell: 3}\n", "mell: Extra inputs"),
        (SMALL + "batch: 3\nbatch: 4\n", "'batch' occurs twice"),
        (SMALL + "losses: {mel: -1}\n", "losses.mel: .*greater than or equal to 0"),
        (SMALL + "losses: {mel: .nan}\n", "losses.mel: .*finite number"),
        (SMALL + "augment: {noise: {snr_db: [20, 5]}}\n", "runs from 20.0 down to 5.0"),
        (SMALL + "augment: {reverb: {decay_seconds: [0, 1]}}\n", r"decay_seconds must lie in \(0"),
        (SMALL + "augment: {clipping: {depth_db: [-1, 1]}}\n", "depth_db must not be negative"),
        (SMALL + "augment: {band_limit: {cutoff_hz: [9, 99]}}\n", "cutoff_hz must start at 100"),
        (SMALL + "dropout: {burst_frames: [5, 1]}\n", "runs from 5 down to 1"),
        (SMALL + "data: {kinds: {speech: 0, music: 0, noise: 0}}\n", "all kind weights are 0"),
        (SMALL + "crop_seconds: 0.001\n", "less than one frame"),
        ("stages: []\n", "stages: .*at least 1 item"),
        ("stages: [{kind: reconstruction, steps: 0}]\n", "steps: .*greater than or equal to 1"),
        ("stages: [{kind: reconstruction, steps: 9, unquantized_steps: 9}]\n", "has 9 steps"),
        (
            "stages: [{kind: refine, steps: 1, adversary: {nets: [{kind: band_split, "
            "bands: [0, .5, .2]}]}}]\n",
            "band edges must ascend",
        ),
        (
            "stages: [{kind: refine, steps: 1}, {kind: refine, steps: 2}]\n",
            "stage names must differ",
        ),
        ("stages: [{kind: distil, steps: 2}]\n", "'reconstruction', 'adversarial', 'refine'"),
        ("- 1\n", "holds a list, expected a mapping"),
        ("a: [\n", "is not YAML"),
        ("{[1]: 2}\n", "is not YAML"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_place(
    text: str, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load_recipe(write(tmp_path, text))


def test_a_missing_recipe_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read recipe"):
        load_recipe(tmp_path / "none.yaml")
