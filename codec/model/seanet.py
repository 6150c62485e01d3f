"""The SEANet pair: strided causal convolutions between samples and frames (EnCodec, HiFi-Codec).

A convolution of kernel 2s and stride s is two taps over blocks of s rows, and its transpose is two
taps that make s rows each: so both are matrix products, and neither adds delay.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grove.codec.config import SeanetConfig
from grove.codec.model.layers import CausalLinear, Chain, StatefulLayer

_OUTER_TAPS = 7
_UNIT_TAPS = 3
# ELU, the original's choice, is ten times slower than this.
_SLOPE = 0.1
_QUIET = 0.01


class ResidualUnit(StatefulLayer):
    """A dilated convolution through half the channels, added to its input."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.narrow = CausalLinear(channels, channels // 2, _UNIT_TAPS, dilation)
        self.widen = nn.Linear(channels // 2, channels)
        self.state_size = self.narrow.state_size

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y, state = self.narrow(F.leaky_relu(x, _SLOPE), state)
        return x + self.widen(F.leaky_relu(y, _SLOPE)), state


class Downsample(StatefulLayer):
    """[B, T*stride, C] -> [B, T, D]."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.block_width = stride * in_channels
        self.convolution = CausalLinear(self.block_width, out_channels, 2)
        self.state_size = self.convolution.state_size

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        blocks = F.leaky_relu(x, _SLOPE).reshape(x.shape[0], -1, self.block_width)
        y: tuple[Tensor, Tensor] = self.convolution(blocks, state)
        return y


class Upsample(StatefulLayer):
    """[B, T, C] -> [B, T*stride, D]."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.convolution = CausalLinear(in_channels, stride * out_channels, 2)
        self.state_size = self.convolution.state_size

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y, state = self.convolution(F.leaky_relu(x, _SLOPE), state)
        return y.reshape(x.shape[0], -1, self.out_channels), state


class Finish(StatefulLayer):
    """The last convolution of a side."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolution = CausalLinear(in_channels, out_channels, _OUTER_TAPS)
        self.state_size = self.convolution.state_size

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y: tuple[Tensor, Tensor] = self.convolution(F.leaky_relu(x, _SLOPE), state)
        return y


def seanet_encoder(config: SeanetConfig, features: int) -> Chain:
    """Return samples [B, T*hop, 1] -> [B, T, features]."""
    width = config.channels
    layers: list[StatefulLayer] = [CausalLinear(1, width, _OUTER_TAPS)]
    for stride in config.strides:
        layers += [ResidualUnit(width, 2**depth) for depth in range(config.residual_blocks)]
        layers.append(Downsample(width, 2 * width, stride))
        width *= 2
    layers.append(Finish(width, features))
    chain = Chain(layers)
    _keep_the_variance(chain)
    return chain


def seanet_decoder(config: SeanetConfig, features: int) -> Chain:
    """Return [B, T, features] -> samples [B, T*hop, 1]."""
    width = config.channels * 2 ** len(config.strides)
    layers: list[StatefulLayer] = [CausalLinear(features, width, _OUTER_TAPS)]
    for stride in reversed(config.strides):
        layers.append(Upsample(width, width // 2, stride))
        width //= 2
        layers += [ResidualUnit(width, 2**depth) for depth in range(config.residual_blocks)]
    finish = Finish(width, 1)
    chain = Chain([*layers, finish])
    _keep_the_variance(chain)
    # The network starts near silence, not at full scale.
    with torch.no_grad():
        finish.convolution.linear.weight.mul_(_QUIET)
    return chain


def _keep_the_variance(chain: Chain) -> None:
    """Start so that no signal fades on its way: by default only the biases would come through."""
    for layer in chain.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, a=_SLOPE)
            nn.init.zeros_(layer.bias)
