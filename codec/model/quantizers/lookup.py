"""DAC's factorised book: search among directions in a few dimensions, decode by a projection."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from grove.codec.config import LookupBookConfig
from grove.codec.model.quantizers.book import (
    Book,
    BookStep,
    TableBook,
    nearest,
    row_error,
    two_sided_loss,
    vectors_of,
)


class LookupBook(Book):
    """Project to a few dimensions, compare directions, and use the vector as it is.

    The quantizer's straight-through ends at the latent, so the decoder's loss does not reach the
    projections: the book's own reconstruction of the latent trains them instead.
    """

    def __init__(self, config: LookupBookConfig, size: int, dim: int) -> None:
        super().__init__(size, dim)
        self.vectors = nn.Parameter(torch.randn(size, config.dim))
        self.project_in = nn.Linear(dim, config.dim)
        self.project_out = nn.Linear(config.dim, dim)

    def table(self) -> Tensor:
        table: Tensor = self.project_out(self.vectors)
        return table

    def directions(self) -> Tensor:
        """Return the vectors [K, d'] at length one, as the search sees them."""
        return functional.normalize(self.vectors.detach(), dim=-1)

    def encode(self, latent: Tensor) -> Tensor:
        # The length of the projected latent scales all scores alike: only the book is normalised.
        return nearest(self.project_in(latent), self.directions())

    def forward(self, latent: Tensor) -> BookStep:
        projected = self.project_in(latent)
        codes = nearest(projected.detach(), self.directions())
        vectors = vectors_of(self.vectors, codes)
        # Straight-through inside the book: both projections learn from what they lose.
        through = projected + (vectors - projected).detach()
        rebuilt = row_error(self.project_out(through), latent.detach())
        loss = rebuilt + two_sided_loss(projected, vectors)
        return BookStep(codes, vectors_of(self.table().detach(), codes), loss)

    def fold(self) -> Book:
        return TableBook(self.table().detach(), self.directions(), self.project_in)
