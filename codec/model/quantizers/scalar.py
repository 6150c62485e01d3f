"""Finite scalar quantization: no book; each number of the latent rounds to a few steps."""

from abc import abstractmethod
from math import prod

import torch
from torch import Tensor, nn

from grove.codec.model.quantizers.quantizer import (
    Quantized,
    Quantizer,
    full_precision,
    per_frame,
    straight_through,
)


class ScalarQuantizer(Quantizer):
    """Each level is one code: the mixed-radix number of the steps of its own few numbers.

    The latent passes a projection to and from those numbers, unless it already has as many.
    The gradient goes through the rounding, inside, so that the projections learn as well.
    """

    counts: Tensor
    centres: Tensor

    def __init__(self, steps: tuple[int, ...], levels: int, dim: int) -> None:
        super().__init__(dim, (prod(steps),) * levels, (1,) * levels)
        self.step_counts = steps
        counts = torch.tensor(steps, dtype=torch.float32)
        self.register_buffer("counts", counts, persistent=False)
        self.register_buffer("centres", (counts / 2).floor(), persistent=False)
        width = levels * len(steps)
        projects = width != dim
        self.project_in = nn.Linear(dim, width) if projects else nn.Identity()
        # No bias: a frame of zero levels must decode to exactly zero.
        self.project_out = nn.Linear(width, dim, bias=False) if projects else nn.Identity()

    def forward(
        self, latent: Tensor, levels: Tensor | None = None, unquantized: Tensor | None = None
    ) -> Quantized:
        """Quantize latent [B, T, D]; see `Quantizer.forward`. There is no loss."""
        batch, frames, _ = latent.shape
        with full_precision(latent):
            flat = latent.float().reshape(-1, self.dim)
            bounded = self._bounded(flat)
            digits = torch.round(bounded.detach())
            rounded = straight_through(bounded, digits, None, None)
            kept = None if levels is None else levels.reshape(-1)
            quantized = self._project_out(rounded, kept)
            skipped = per_frame(unquantized, frames)
            if skipped is not None:
                quantized = torch.where(skipped.unsqueeze(-1), flat, quantized)
        codes = self._to_codes(digits).reshape(batch, frames, self.levels)
        return Quantized(quantized.reshape(batch, frames, self.dim), codes, flat.new_zeros(()))

    def encode(self, latent: Tensor) -> Tensor:
        """Return codes [B, T, K] for latent [B, T, D], level 0 first."""
        with full_precision(latent):
            digits = torch.round(self._bounded(latent.float().reshape(-1, self.dim)))
        return self._to_codes(digits).reshape(*latent.shape[:2], self.levels)

    def decode(self, codes: Tensor, levels: Tensor | None = None) -> Tensor:
        """Return latent [B, T, D] from the first `levels` [B, T] levels of codes [B, T, K]."""
        kept = None if levels is None else levels.reshape(-1)
        with full_precision(codes):
            digits = self._to_digits(codes.reshape(-1, self.levels))
            values = self._project_out(digits, kept)
        return values.reshape(*codes.shape[:2], self.dim)

    def freeze(self) -> None:
        """Leave everything as it is: there are no books to fold."""

    @abstractmethod
    def bound(self, numbers: Tensor) -> Tensor:
        """Squash numbers [N, L, S] so that rounding gives digit - (steps // 2)."""

    def _bounded(self, latent: Tensor) -> Tensor:
        numbers: Tensor = self.project_in(latent)
        return self.bound(numbers.reshape(-1, self.levels, len(self.step_counts)))

    def _project_out(self, rounded: Tensor, kept: Tensor | None) -> Tensor:
        """Return the latent [N, D] of rounded [N, L, S], with the levels [N] that are kept."""
        values = rounded / self.centres
        if kept is not None:
            depths = torch.arange(self.levels, device=kept.device)
            values = torch.where((kept.unsqueeze(-1) > depths).unsqueeze(-1), values, 0.0)
        latent: Tensor = self.project_out(values.flatten(1))
        return latent

    def _to_codes(self, rounded: Tensor) -> Tensor:
        """Return codes [N, L] of rounded [N, L, S], the first number as the lowest digit."""
        digits = (rounded + self.centres).long()
        codes, place = digits[..., 0], 1
        for index in range(1, len(self.step_counts)):
            place *= self.step_counts[index - 1]
            codes = codes + place * digits[..., index]
        return codes

    def _to_digits(self, codes: Tensor) -> Tensor:
        """Return what `_to_codes` made the codes of: [N, L, S] from [N, L]."""
        # In float32, which is exact for 16-bit codes and needs no integer division in the graph.
        rest, digits = codes.float(), []
        for count in self.step_counts:
            quotient = (rest / count).floor()
            digits.append(rest - quotient * count)
            rest = quotient
        return torch.stack(digits, dim=-1) - self.centres


class FiniteScalarQuantizer(ScalarQuantizer):
    """FSQ: a shifted tanh, so that even step counts round to one more step below zero."""

    half_widths: Tensor
    offsets: Tensor
    shifts: Tensor

    def __init__(self, steps: tuple[int, ...], levels: int, dim: int) -> None:
        super().__init__(steps, levels, dim)
        # A thousandth beyond the last step, or tanh could never quite reach it.
        half_widths = (self.counts - 1) * (1 + 1e-3) / 2
        offsets = torch.where(self.counts % 2 == 0, 0.5, 0.0)
        self.register_buffer("half_widths", half_widths, persistent=False)
        self.register_buffer("offsets", offsets, persistent=False)
        self.register_buffer("shifts", torch.atanh(offsets / half_widths), persistent=False)

    def bound(self, numbers: Tensor) -> Tensor:
        return torch.tanh(numbers + self.shifts) * self.half_widths - self.offsets


class EvenScalarQuantizer(ScalarQuantizer):
    """iFSQ: odd step counts under a sigmoid; normal numbers use the inner steps evenly."""

    def bound(self, numbers: Tensor) -> Tensor:
        return (2 * torch.sigmoid(1.6 * numbers) - 1) * ((self.counts - 1) / 2)
