"""Every recipe that is shipped loads, is short, and takes a step."""

from pathlib import Path

import pytest
import torch
from training_cases import ToneBatches

from grove.training.config import Recipe, load_recipe
from grove.training.ranks import Ranks
from grove.training.trainer import Trainer

FOLDER = Path(__file__).parent.parent.parent / "training" / "recipes"
PATHS = sorted(FOLDER.glob("*.yaml"))


def shortened(path: Path) -> Recipe:
    """Return the recipe with its own codec and losses, on a batch that takes no time."""
    recipe = load_recipe(path).model_dump()
    recipe |= {"batch": 2, "crop_seconds": 0.2, "data": {"prefetch": False}}
    recipe["stages"] = [stage | {"steps": 3} for stage in recipe["stages"][:1]]
    if recipe["stages"][0]["kind"] == "reconstruction":
        recipe["stages"][0]["unquantized_steps"] = 1
    return Recipe.model_validate(recipe)


def test_there_are_recipes() -> None:
    assert {"grove-24k", "grove-24k-lm", "hifi-codec", "encodec"} <= {path.stem for path in PATHS}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_recipe_fits_a_page_and_says_what_it_is(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 40
    assert lines[0].startswith("# ")
    assert load_recipe(path).name == path.stem


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_recipe_learns_from_its_first_steps(path: Path, tmp_path: Path) -> None:
    recipe = shortened(path)
    trainer = Trainer(recipe, ToneBatches(recipe), tmp_path, Ranks(0, 1, torch.device("cpu")))
    before = {name: value.clone() for name, value in trainer.codec.named_parameters()}
    losses: list[float] = []
    term = "mel" if recipe.stages[0].losses.mel else "energy"
    trainer.run(3, lambda report: losses.append(report.terms[term]))
    assert all(0 < loss < float("inf") for loss in losses)
    moved = [
        name for name, value in trainer.codec.named_parameters() if not value.equal(before[name])
    ]
    assert {name.split(".")[0] for name in moved} >= {"encoder", "decoder"}


def test_released_models_train_on_the_permissive_shards_only() -> None:
    for path in PATHS:
        assert set(load_recipe(path).data.shards) <= {"train-*", "clean-*"}, path.stem
