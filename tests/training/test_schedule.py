"""Where a step lies, how fast it learns, and what it carries."""

import numpy as np
import pytest
import torch
from training_cases import RECONSTRUCTION, tiny_recipe

from grove.training.average import WeightAverage
from grove.training.config import DropoutConfig
from grove.training.draws import generator
from grove.training.dropout import draw_bursts, draw_carried
from grove.training.optimizers import (
    AdamwConfig,
    build_optimizers,
    rate_factor,
    set_rate_factor,
)
from grove.training.schedule import locate


def test_a_step_is_found_in_its_stage() -> None:
    stages = [RECONSTRUCTION, {"kind": "adversarial", "steps": 4}]
    recipe = tiny_recipe(stages=stages)
    assert [locate(recipe, n)[::2] for n in (0, 7, 8, 11)] == [(0, 0), (0, 7), (1, 0), (1, 3)]
    with pytest.raises(ValueError, match="past the last of 12"):
        locate(recipe, 12)


def test_the_rate_warms_up_and_falls_to_its_floor() -> None:
    config = AdamwConfig(warmup_steps=10, floor_ratio=0.1)
    factors = [rate_factor(config, step, 1_000) for step in range(1_000)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == pytest.approx(1, abs=0.01)
    assert factors.index(max(factors)) == 9
    assert factors[-1] == pytest.approx(0.1, abs=0.01)
    assert factors[10:] == sorted(factors[10:], reverse=True)


def test_optimizers_fit_a_linear_map() -> None:
    torch.manual_seed(0)
    model, target = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)
    optimizers = build_optimizers(model, AdamwConfig(lr=0.02))
    x = torch.randn(64, 8)
    losses = []
    for step in range(150):
        loss = (model(x) - target(x)).square().mean()
        loss.backward()
        set_rate_factor(optimizers, 1 - step / 150)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.02 * losses[0]


def test_only_matrices_decay() -> None:
    (optimizer,) = build_optimizers(torch.nn.Linear(4, 4), AdamwConfig(weight_decay=0.5))
    decays = {p.ndim: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decays == {2: 0.5, 1: 0.0}


def test_the_average_follows_the_weights_and_forgets_the_start() -> None:
    model = torch.nn.Linear(2, 2)
    average = WeightAverage(model, 0.99)
    with torch.no_grad():
        model.weight.fill_(5.0)
    for _ in range(600):
        average.update(model)
    assert torch.allclose(average.weights["weight"], torch.full((2, 2), 5.0), atol=0.05)
    assert average.model_state(model).keys() == model.state_dict().keys()


def test_carried_levels_have_the_configured_shares() -> None:
    config = DropoutConfig(full_share=0.5, erasure_share=0.0, unquantized_share=0.25)
    carried = draw_carried(config, 6, (6_000, 10), generator(1))
    assert carried.levels.shape == (6_000, 10)
    per_item = carried.levels[:, 0]
    assert bool((carried.levels == per_item[:, None]).all())
    assert float((per_item == 6).float().mean()) == pytest.approx(0.5 + 0.5 / 6, abs=0.02)
    assert {int(level) for level in per_item.unique()} == set(range(1, 7))
    assert float(carried.unquantized.float().mean()) == pytest.approx(0.25, abs=0.02)


def test_frames_are_lost_in_bursts_near_the_configured_rate() -> None:
    config = DropoutConfig(erasure_rate=0.1, burst_frames=(2, 5))
    lost = draw_bursts(config, 200_000, generator(2))
    assert float(lost.mean()) == pytest.approx(0.1, abs=0.015)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], lost.astype(int), [0]))))
    assert (edges[1::2] - edges[::2]).min() >= 2


def test_the_same_key_draws_the_same_numbers() -> None:
    assert generator(1, 2, 3).random() == generator(1, 2, 3).random()
    assert generator(1, 2, 3).random() != generator(1, 2, 4).random()
