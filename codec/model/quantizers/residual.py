"""Residual quantization: each level quantizes what the levels before it left over."""

import torch
from torch import Tensor, nn

from grove.codec.model.quantizers.book import FitRows
from grove.codec.model.quantizers.level import Level, LevelStep
from grove.codec.model.quantizers.quantizer import (
    Quantized,
    Quantizer,
    full_precision,
    per_frame,
    straight_through,
)
from grove.codec.model.quantizers.ranks import rows_of_ranks, sum_over_ranks, world_size


class ResidualQuantizer(Quantizer):
    """Levels in a row; `rvq`, `grvq`, `mcrvq` and the single books differ only in their levels.

    Books learn from every frame, also of levels that a frame drops: how many levels it keeps is
    drawn after encoding and says nothing about the latent, so dropped frames are the same
    distribution, and the last levels would otherwise see a fraction of the data.
    """

    def __init__(self, levels: list[Level], dim: int) -> None:
        sizes = tuple(book.size for level in levels for book in level.all_books())
        super().__init__(dim, sizes, tuple(len(level.books) for level in levels))
        self.steps = nn.ModuleList(levels)

    def all_levels(self) -> list[Level]:
        return [level for level in self.steps if isinstance(level, Level)]

    @property
    def ready(self) -> bool:
        return all(level.ready for level in self.all_levels())

    def freeze(self) -> None:
        for level in self.all_levels():
            level.freeze()

    def forward(
        self, latent: Tensor, levels: Tensor | None = None, unquantized: Tensor | None = None
    ) -> Quantized:
        """Quantize latent [B, T, D]; see `Quantizer.forward`."""
        batch, frames, _ = latent.shape
        skipped = per_frame(unquantized, frames)
        kept = None if levels is None else levels.reshape(-1)
        with full_precision(latent):
            flat = latent.float().reshape(-1, self.dim)
            steps = self._run(flat, self._fit_rows(flat, skipped))
            values = _sum_levels([step.values for step in steps], kept)
            carried = straight_through(flat, values, kept, skipped)
            loss = self._loss(steps, kept, skipped)
        codes = torch.cat([step.codes for step in steps], dim=-1)
        return Quantized(
            carried.reshape(batch, frames, self.dim), codes.reshape(batch, frames, -1), loss
        )

    def encode(self, latent: Tensor) -> Tensor:
        """Return codes [B, T, K] for latent [B, T, D], level 0 first."""
        codes: list[Tensor] = []
        with full_precision(latent):
            residual = latent.float().reshape(-1, self.dim)
            before = torch.zeros_like(residual)
            for level in self.all_levels():
                found, values = level.encode(residual, before)
                codes.append(found)
                residual, before = residual - values, before + values
        return torch.cat(codes, dim=-1).reshape(*latent.shape[:2], len(self.code_sizes))

    def decode(self, codes: Tensor, levels: Tensor | None = None) -> Tensor:
        """Return latent [B, T, D] from the first `levels` [B, T] levels of codes [B, T, K]."""
        kept = None if levels is None else levels.reshape(-1)
        flat = codes.reshape(-1, len(self.code_sizes))
        parts = flat.split_with_sizes(list(self.codes_per_level), dim=-1)
        pairs = zip(self.all_levels(), parts, strict=True)
        with full_precision(codes):
            values: list[Tensor] = []
            before = torch.zeros(flat.shape[0], self.dim, device=codes.device)
            for level, part in pairs:
                values.append(level.decode(part, before))
                before = before + values[-1]
            total = _sum_levels(values, kept)
        return total.reshape(*codes.shape[:2], self.dim)

    def _run(self, latent: Tensor, fit: FitRows | None) -> list[LevelStep]:
        """Quantize latent [N, D] level by level, each on the live residual."""
        residual, before, steps = latent, torch.zeros_like(latent), []
        for level in self.all_levels():
            was_ready = level.ready
            step: LevelStep = level(residual, before, fit)
            # The values carry no gradient, so the residual of every level still carries the
            # encoder's: without that only level 0 would have a commitment.
            residual, before = residual - step.values, before + step.values
            steps.append(step)
            # k-means on a residual needs a level before it that has settled for a batch.
            fit = fit if fit is None else fit._replace(may_start=was_ready)
        return steps

    def _fit_rows(self, latent: Tensor, skipped: Tensor | None) -> FitRows | None:
        if not self.training:
            return None
        keep = None if skipped is None else (~skipped).nonzero().squeeze(-1)
        rows = latent.shape[0] if keep is None else keep.shape[0]
        return FitRows(keep, rows_of_ranks(rows, latent.device), may_start=True)

    def _loss(self, steps: list[LevelStep], kept: Tensor | None, skipped: Tensor | None) -> Tensor:
        """Average over levels the mean loss of the frames that use the level."""
        if kept is None and skipped is None:
            return torch.stack([step.loss for step in steps]).mean()
        losses = torch.stack([step.loss for step in steps])
        counted = torch.ones_like(losses, dtype=torch.bool)
        if kept is not None:
            counted = counted & _uses_level(kept, self.levels)
        if skipped is not None:
            counted = counted & ~skipped
        counts = counted.sum(-1).to(losses.dtype)
        if self.training:
            # Each rank divides by the mean count, so that averaged gradients are the whole batch's.
            counts = sum_over_ranks(counts) / world_size()
        totals = (losses * counted).sum(-1)
        return torch.where(counts > 0, totals / counts.clamp(min=1e-3), 0.0).mean()


def _uses_level(kept: Tensor, levels: int) -> Tensor:
    """Return for each level which frames use it: bool [L, N] from levels kept [N]."""
    return kept > torch.arange(levels, device=kept.device).unsqueeze(-1)


def _sum_levels(values: list[Tensor], kept: Tensor | None) -> Tensor:
    """Add up values [N, D] of the levels that each frame keeps ([N], None: all), in order."""
    if kept is not None:
        # where, not a product: a frame without a level is zero whatever stands in its codes.
        values = [
            torch.where((kept > depth).unsqueeze(-1), value, 0.0)
            for depth, value in enumerate(values)
        ]
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total
