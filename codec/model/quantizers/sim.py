"""SimVQ: the vectors are a trained linear map of a random table that never changes."""

from math import sqrt

import torch
from torch import Tensor, nn

from grove.codec.model.quantizers.book import LearnedBook


class SimBook(LearnedBook):
    """Every step moves every code, so none is ever left behind and nothing restarts."""

    seeds: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__(size, dim)
        self.register_buffer("seeds", torch.randn(size, dim) / sqrt(dim))
        self.map = nn.Linear(dim, dim)

    def table(self) -> Tensor:
        table: Tensor = self.map(self.seeds)
        return table
