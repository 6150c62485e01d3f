import json
from pathlib import Path

import pytest
from training_cases import tiny_recipe

from grove.codec.errors import ConfigError
from grove.training.train import write_run_facts


def test_a_run_goes_on_under_the_same_recipe_however_its_settings_are_ordered(
    tmp_path: Path,
) -> None:
    recipe = tiny_recipe()
    write_run_facts(recipe, tmp_path)
    kept = tmp_path / "recipe.json"
    backwards = dict(reversed(json.loads(kept.read_text()).items()))
    kept.write_text(json.dumps(backwards))
    write_run_facts(recipe, tmp_path)
    with pytest.raises(ConfigError, match="another recipe"):
        write_run_facts(recipe.model_copy(update={"seed": recipe.seed + 1}), tmp_path)
