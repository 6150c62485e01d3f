"""Causal layers whose memory is a value: a flat row per stream, passed in and handed back.

Every stateful layer has `state_size` and maps `(x, state)` to `(y, state)`. Zeros are silence
before the start, in training, in whole files and in streams alike, so one code path serves all.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grove.codec.config import TrunkConfig


def join_past(x: Tensor, state: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Return x [B, T, C] with `steps` remembered rows before it, and the new flat memory."""
    past = state.reshape(x.shape[0], steps, x.shape[2])
    joined = torch.cat([past, x], dim=1)
    return joined, joined[:, x.shape[1] :].reshape(x.shape[0], steps * x.shape[2])


class StatefulLayer(nn.Module):
    """Maps `(x, state)` to `(y, state)` with `state_size` remembered numbers per stream."""

    state_size: int


class DepthwiseTaps(StatefulLayer):
    """A causal depthwise convolution [B, T, C], as shifted adds so that it batches exactly."""

    def __init__(self, channels: int, taps: int) -> None:
        super().__init__()
        self.taps = taps
        self.state_size = (taps - 1) * channels
        bound = taps**-0.5
        self.weight = nn.Parameter(torch.empty(taps, channels).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        joined, state = join_past(x, state, self.taps - 1)
        frames = x.shape[1]
        y = self.bias + joined[:, :frames] * self.weight[0]
        for tap in range(1, self.taps):
            y = y + joined[:, tap : tap + frames] * self.weight[tap]
        return y, state


class CausalLinear(StatefulLayer):
    """A causal convolution [B, T, C] -> [B, T, D] over `taps` frames, as one matrix product."""

    def __init__(self, in_channels: int, out_channels: int, taps: int, dilation: int = 1) -> None:
        super().__init__()
        self.offsets = tuple(tap * dilation for tap in range(taps))
        self.state_size = self.offsets[-1] * in_channels
        self.linear = nn.Linear(taps * in_channels, out_channels)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        joined, state = join_past(x, state, self.offsets[-1])
        frames = x.shape[1]
        window = torch.cat([joined[:, start : start + frames] for start in self.offsets], dim=2)
        return self.linear(window), state


class ConvNeXtBlock(StatefulLayer):
    """Depthwise taps over time, then a per-frame MLP, added to the input with a learned scale."""

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.width * config.expansion
        self.depthwise = DepthwiseTaps(width, config.taps)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))
        self.state_size = self.depthwise.state_size

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y, state = self.depthwise(x, state)
        y = self.contract(F.gelu(self.expand(self.norm(y))))
        return x + self.scale * y, state


class Trunk(StatefulLayer):
    """A stack of ConvNeXt blocks and a last norm, [B, T, width] -> [B, T, width]."""

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ConvNeXtBlock(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.width)
        self.block_state_size = (config.taps - 1) * config.width
        self.state_size = config.blocks * self.block_state_size

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        kept = []
        for index, block in enumerate(self.blocks):
            start = index * self.block_state_size
            x, new = block(x, state[:, start : start + self.block_state_size])
            kept.append(new)
        return self.norm(x), torch.cat(kept, dim=1) if kept else state


def split_state(state: Tensor, sizes: tuple[int, ...]) -> tuple[Tensor, ...]:
    """Cut a flat state [B, S] into the rows of the parts."""
    return torch.split(state, list(sizes), dim=1)


class Chain(StatefulLayer):
    """Layers one after another; their memories lie side by side."""

    def __init__(self, layers: Sequence[StatefulLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.state_sizes = tuple(layer.state_size for layer in layers)
        self.state_size = sum(self.state_sizes)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        kept = []
        parts = split_state(state, self.state_sizes)
        for layer, part in zip(self.layers, parts, strict=True):
            x, new = layer(x, part)
            kept.append(new)
        return x, torch.cat(kept, dim=1)
