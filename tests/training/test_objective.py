"""Each part of a decoder is moved by the terms that are its own."""

import pytest
import torch
from training_cases import TINY, ToneBatches, tiny_recipe

from grove.codec.model.codec import CodecNetwork
from grove.codec.model.subframes import SubframeHead
from grove.training.config import Recipe
from grove.training.objective import Objective, Pair
from grove.training.ranks import Ranks

SILENT = {"mel": 0, "stft": 0, "wave": 0, "commitment": 0, "follow_by_level": [0.0, 1.0]}
ALONE = Ranks(0, 1, torch.device("cpu"))


def recipe(**weights: float) -> Recipe:
    return tiny_recipe(
        losses={**SILENT, "scales": [[512, 24]], **weights},
        codec={**TINY["codec"], "shape": 4, "head": {"kind": "subframe", "net": {"width": 12}}},
    )


def gradients(of: Recipe, level: int) -> tuple[float, float]:
    """Return how hard the losses pull at the waveform and at what is added to it."""
    torch.manual_seed(0)
    codec = CodecNetwork(of.codec).train()
    head = codec.decoder.head
    assert isinstance(head, SubframeHead)
    reference = torch.from_numpy(ToneBatches(of).batch(0))
    levels = torch.full((of.batch, codec.frames(reference.shape[1])), level)
    objective = Objective(codec, of.stages[0])
    # Books that have not begun are all zeros, and nothing would come through the latent.
    output = codec(reference, levels, torch.ones(of.batch, dtype=torch.bool))
    pair = Pair(reference, levels)
    objective.codec_losses(output, pair, [0], False, ALONE).total.backward()
    pulls = [
        0.0 if weight.grad is None else float(weight.grad.norm())
        for weight in (head.low.linear.weight, head.leave.weight)
    ]
    return pulls[0], pulls[1]


@pytest.mark.parametrize("term", ["energy", "colour"])
def test_a_followed_waveform_is_not_bent_towards_a_likely_texture(term: str) -> None:
    followed, texture = gradients(recipe(**{term: 1.0}), level=2)
    assert followed < 1e-5 * texture
    assert texture > 0
    parametric, texture = gradients(recipe(**{term: 1.0}), level=1)
    assert parametric > 0
    assert texture > 0


def test_a_head_without_chance_is_moved_by_every_term() -> None:
    of = tiny_recipe(losses={**SILENT, "energy": 1.0, "scales": [[512, 24]]})
    torch.manual_seed(0)
    codec = CodecNetwork(of.codec).train()
    reference = torch.from_numpy(ToneBatches(of).batch(0))
    levels = torch.full((of.batch, codec.frames(reference.shape[1])), 2)
    output = codec(reference, levels, torch.ones(of.batch, dtype=torch.bool))
    objective = Objective(codec, of.stages[0])
    losses = objective.codec_losses(output, Pair(reference, levels), [0], False, ALONE)
    losses.total.backward()
    pulls = [float(p.grad.norm()) for p in codec.decoder.head.parameters() if p.grad is not None]
    assert max(pulls) > 0.01


def test_a_texture_is_not_bent_towards_the_waveform() -> None:
    waveform, texture = gradients(recipe(low_band=1.0), level=2)
    assert waveform > 0
    assert texture < 1e-5 * waveform
