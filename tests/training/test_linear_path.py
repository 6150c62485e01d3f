"""A fresh codec begins as the best linear one."""

import torch
from training_cases import TINY, ToneBatches, tiny_recipe

from grove.codec.config import GrvqConfig, RvqConfig
from grove.codec.model.codec import CodecNetwork
from grove.training.linear_path import dealt, start_linear_path


def unquantized_error(codec: CodecNetwork, pcm: torch.Tensor) -> float:
    codec.eval()
    everything = torch.ones(len(pcm), dtype=torch.bool)
    with torch.no_grad():
        output = codec(pcm, None, everything).pcm
    return float((output - pcm).square().mean() / pcm.square().mean())


def test_principal_axes_keep_most_of_the_signal_from_the_start() -> None:
    torch.manual_seed(0)
    recipe = tiny_recipe(codec={**TINY["codec"], "latent": 64})
    codec = CodecNetwork(recipe.codec)
    crops = [torch.from_numpy(ToneBatches(recipe).batch(n)) for n in range(8)]
    before = unquantized_error(codec, crops[0])
    assert start_linear_path(codec, crops)
    assert unquantized_error(codec, crops[0]) < 0.6 * before


def test_axes_are_dealt_out_in_turn_to_the_groups() -> None:
    axes = torch.arange(6.0)[None]
    assert dealt(axes, GrvqConfig(groups=2)).tolist() == [[0, 2, 4, 1, 3, 5]]
    assert dealt(axes, RvqConfig()).tolist() == [[0, 1, 2, 3, 4, 5]]


def test_a_codec_without_a_linear_path_is_left_alone() -> None:
    recipe = tiny_recipe()
    stft = recipe.codec.model_dump() | {"frontend": {"kind": "stft"}}
    codec = CodecNetwork(type(recipe.codec).model_validate(stft))
    assert not start_linear_path(codec, [])
