"""VQBridge: the vectors pass through a small transformer over their grid, so all move together."""

from math import isqrt, sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

from grove.codec.config import BridgeBookConfig
from grove.codec.model.quantizers.book import LearnedBook

HEAD_WIDTH = 32


class BridgeBook(LearnedBook):
    """The codes as a square grid: cut into patches, through the blocks, and back."""

    def __init__(self, config: BridgeBookConfig, size: int, dim: int) -> None:
        super().__init__(size, dim)
        self.side = isqrt(size)
        self.patch = config.patch
        tokens = (self.side // self.patch) ** 2
        patch_width = self.patch**2 * dim
        self.seeds = nn.Parameter(torch.randn(size, dim) / sqrt(dim))
        self.enter = nn.Linear(patch_width, config.width)
        self.position = nn.Parameter(0.02 * torch.randn(tokens, config.width))
        self.blocks = nn.Sequential(*(Block(config.width) for _ in range(config.blocks)))
        self.norm = nn.LayerNorm(config.width)
        self.leave = nn.Linear(config.width, patch_width)
        # The bridge starts as the identity.
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def table(self) -> Tensor:
        tokens = self.enter(self._to_patches(self.seeds)) + self.position
        moved = self.leave(self.norm(self.blocks(tokens)))
        return self.seeds + self._from_patches(moved)

    def _to_patches(self, vectors: Tensor) -> Tensor:
        """Cut vectors [K, d] into patches [K / p^2, p^2 d] of the grid."""
        cells = self.side // self.patch
        grid = vectors.reshape(cells, self.patch, cells, self.patch, self.dim)
        return grid.transpose(1, 2).reshape(cells**2, -1)

    def _from_patches(self, patches: Tensor) -> Tensor:
        """Put patches [K / p^2, p^2 d] back into vectors [K, d]."""
        cells = self.side // self.patch
        grid = patches.reshape(cells, cells, self.patch, self.patch, self.dim)
        return grid.transpose(1, 2).reshape(self.size, self.dim)


class Block(nn.Module):
    """A pre-norm transformer block over tokens [N, width]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(1, width // HEAD_WIDTH)
        self.norm_attention = nn.LayerNorm(width)
        self.project_in = nn.Linear(width, 3 * width)
        self.project_out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        attended: Tensor = tokens + self._attend(self.norm_attention(tokens))
        result: Tensor = attended + self.mlp(attended)
        return result

    def _attend(self, tokens: Tensor) -> Tensor:
        count, width = tokens.shape
        split = self.project_in(tokens).reshape(count, 3, self.heads, width // self.heads)
        query, key, value = split.permute(1, 2, 0, 3).unsqueeze(1).unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        result: Tensor = self.project_out(mixed.squeeze(0).transpose(0, 1).reshape(count, width))
        return result
