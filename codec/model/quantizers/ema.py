"""A book that follows a moving average of what its codes are used for."""

import torch
from torch import Tensor

from grove.codec.config import EmaBookConfig
from grove.codec.model.quantizers.book import (
    Book,
    BookStep,
    FitRows,
    nearest,
    row_error,
    vectors_of,
)
from grove.codec.model.quantizers.ranks import draw_rows, sum_over_ranks

# Only against 0 / 0: before the start, and in a book whose restarts are off.
LEAST_USAGE = 1e-12
EMPTY_USAGE = 1e-3


class EmaBook(Book):
    """K-means start, then usage and sums decay; what nobody uses restarts from the batch."""

    usage: Tensor
    sums: Tensor

    def __init__(self, config: EmaBookConfig, size: int, dim: int) -> None:
        super().__init__(size, dim)
        self.config = config
        # Host integers, not tensors: reading a tensor would wait for the device at every step.
        self.started = False
        self.steps = 0
        self.register_buffer("usage", torch.zeros(size))
        self.register_buffer("sums", torch.zeros(size, dim))

    @property
    def ready(self) -> bool:
        return self.started

    def table(self) -> Tensor:
        return self.sums / self.usage.clamp(min=LEAST_USAGE).unsqueeze(-1)

    def forward(self, latent: Tensor) -> BookStep:
        table = self.table()
        codes = nearest(latent.detach(), table)
        values = vectors_of(table, codes)
        # Before the start the book is all zeros: pulling the encoder there would kill it.
        loss = row_error(latent, values) if self.started else latent.new_zeros(len(codes))
        return BookStep(codes, values, loss)

    @torch.no_grad()
    def start(self, latent: Tensor, fit: FitRows) -> None:
        """Fill an empty book by k-means on latent [N, d], once it may."""
        if self.started or not (fit.may_start and fit.any):
            return
        rows, iterations = fit.of(latent), self.config.kmeans_iterations
        centroids, counts = kmeans(rows, self.size, iterations, fit.rank_rows)
        # An empty cluster keeps its place with next to no usage: the first check restarts it.
        usage = counts.clamp(min=EMPTY_USAGE)
        self.usage.copy_(usage)
        self.sums.copy_(centroids * usage.unsqueeze(-1))
        self.started = True

    @torch.no_grad()
    def learn(self, latent: Tensor, codes: Tensor, fit: FitRows) -> None:
        """Move towards the latent [N, d] that was given codes [N]."""
        if not (self.started and fit.any):
            return
        rows = fit.of(latent)
        sums, counts = cluster(rows, fit.of(codes), self.size)
        self.usage.lerp_(counts, 1 - self.config.decay)
        self.sums.lerp_(sums, 1 - self.config.decay)
        self.steps += 1
        if self.steps % self.config.check_every_steps == 0:
            self._restart(rows, fit.rank_rows)

    def _restart(self, rows: Tensor, rank_rows: tuple[int, ...]) -> None:
        mean_usage = self.usage.sum() / self.size
        dead = self.usage < self.config.dead_ratio * mean_usage
        fresh = draw_rows(rows, self.size, rank_rows) * mean_usage
        # Both buffers: a vector written to the book alone is gone with the next average.
        self.usage.copy_(torch.where(dead, mean_usage, self.usage))
        self.sums.copy_(torch.where(dead.unsqueeze(-1), fresh, self.sums))

    def get_extra_state(self) -> Tensor:
        return torch.tensor([int(self.started), self.steps])

    def set_extra_state(self, state: Tensor) -> None:
        started, steps = state.tolist()
        self.started = bool(started)
        self.steps = int(steps)


def cluster(rows: Tensor, codes: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the sum [K, d] and the count [K] of the rows [N, d] of each code, over all ranks."""
    # The count rides along as one more column: one pass here, one message between ranks.
    counted = torch.cat([rows, rows.new_ones(rows.shape[0], 1)], dim=1)
    totals = rows.new_zeros(size, counted.shape[1]).index_add_(0, codes, counted)
    sum_over_ranks(totals)
    return totals[:, :-1], totals[:, -1]


def kmeans(
    rows: Tensor, size: int, iterations: int, rank_rows: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Return centroids [K, d] of rows [N, d], and how many rows of all ranks each one has."""
    centroids = draw_rows(rows, size, rank_rows)
    for _ in range(iterations):
        sums, counts = cluster(rows, nearest(rows, centroids), size)
        held = counts.unsqueeze(-1)
        moved = torch.where(held > 0, sums / held.clamp(min=1), centroids)
        # Every rank sees the same sums, so all of them stop at the same iteration.
        settled = torch.equal(moved, centroids)
        centroids = moved
        if settled:
            break
    _, counts = cluster(rows, nearest(rows, centroids), size)
    return centroids, counts
