"""Causal layers against torch's own convolutions, and what they remember."""

import pytest
import torch
from codec_variants import noise
from torch import Tensor
from torch.nn import functional as F

from grove.codec.config import TrunkConfig
from grove.codec.model.layers import CausalLinear, Chain, DepthwiseTaps, StatefulLayer, Trunk


def run(layer: StatefulLayer, x: Tensor) -> Tensor:
    y, state = layer(x, torch.zeros(len(x), layer.state_size))
    assert state.shape == (len(x), layer.state_size)
    return y


def rows(seed: int, frames: int, channels: int) -> Tensor:
    return noise(seed, 2, frames * channels).reshape(2, frames, channels)


@pytest.mark.parametrize("taps", [1, 2, 7])
def test_depthwise_taps_are_a_causal_convolution(taps: int) -> None:
    layer = DepthwiseTaps(5, taps)
    x = rows(1, 12, 5)
    kernel = layer.weight.T[:, None]
    padded = F.pad(x.transpose(1, 2), (taps - 1, 0))
    expected = F.conv1d(padded, kernel, layer.bias, groups=5).transpose(1, 2)
    assert torch.allclose(run(layer, x), expected, atol=1e-6)


@pytest.mark.parametrize(("taps", "dilation"), [(1, 1), (3, 1), (3, 4), (7, 2)])
def test_causal_linear_is_a_causal_convolution(taps: int, dilation: int) -> None:
    layer = CausalLinear(4, 6, taps, dilation)
    assert layer.state_size == (taps - 1) * dilation * 4
    x = rows(2, 30, 4)
    kernel = layer.linear.weight.reshape(6, taps, 4).transpose(1, 2)
    padded = F.pad(x.transpose(1, 2), ((taps - 1) * dilation, 0))
    expected = F.conv1d(padded, kernel, layer.linear.bias, dilation=dilation).transpose(1, 2)
    assert torch.allclose(run(layer, x), expected, atol=1e-6)


def test_a_trunk_without_blocks_is_its_norm() -> None:
    trunk = Trunk(TrunkConfig(width=8, blocks=0))
    x = rows(3, 5, 8)
    assert trunk.state_size == 0
    assert torch.equal(run(trunk, x), F.layer_norm(x, (8,)))


def test_a_chain_runs_its_layers_with_their_own_memories() -> None:
    first, second = CausalLinear(4, 6, 3), CausalLinear(6, 2, 2)
    chain = Chain([first, second])
    assert chain.state_size == 2 * 4 + 1 * 6
    x = rows(4, 9, 4)
    middle, first_state = first(x, torch.zeros(2, first.state_size))
    y, second_state = second(middle, torch.zeros(2, second.state_size))
    z, state = chain(x, torch.zeros(2, chain.state_size))
    assert torch.equal(z, y)
    assert torch.equal(state, torch.cat([first_state, second_state], dim=1))
