"""Deterministic pseudo-random signs, drawn by a hash of the frames lately heard.

A function of the frame alone gives all noise one pattern of signs, and repeated at the frame rate
it is a buzz. A counter would cure that and tie the sound to where decoding began. A hash of the
last frames' latents is as good a chance, the same in every runtime, and soon forgotten.
"""

import torch
from torch import Tensor

from grove.codec.model.layers import StatefulLayer, join_past

_ROWS = 256
_BITS = 8
_PAST_FRAMES = 15
_SEED = 2_654_435_761


def sign_table(columns: int) -> Tensor:
    """Return `_ROWS` rows of signs [rows, columns] as int8: a hash, so the same everywhere."""
    x = torch.arange(_ROWS * columns, dtype=torch.int64) + 1
    for shift in (16, 13, 16):
        x = (x * _SEED) % (1 << 32)
        x = x ^ (x >> shift)
    return (2 * ((x >> 7) % 2) - 1).to(torch.int8).reshape(_ROWS, columns)


class Scatter(StatefulLayer):
    """Latents [B, T, D] to signs [B, T, columns], with 15 frames of memory."""

    def __init__(self, latent: int, columns: int) -> None:
        super().__init__()
        self.bits = min(_BITS, latent)
        self.stride = latent // self.bits
        self.state_size = _PAST_FRAMES
        powers = 2.0 ** torch.arange(self.bits)
        # Odd factors: a row depends on every bit of every frame.
        factors = (2 * torch.arange(_PAST_FRAMES + 1) + 1).float()
        self.register_buffer("powers", powers, persistent=False)
        self.register_buffer("factors", factors, persistent=False)
        self.register_buffer("table", sign_table(columns), persistent=False)
        self.powers: Tensor
        self.factors: Tensor
        self.table: Tensor

    def forward(self, latent: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        bits = (latent[..., : self.bits * self.stride : self.stride] > 0).to(latent.dtype)
        # Sums of small whole numbers: exact in any order.
        said = (bits * self.powers).sum(2, keepdim=True)
        joined, state = join_past(said, state, _PAST_FRAMES)
        frames = latent.shape[1]
        mixed = joined[:, :frames] * self.factors[0]
        for lag in range(1, _PAST_FRAMES + 1):
            mixed = mixed + joined[:, lag : lag + frames] * self.factors[lag]
        row = torch.remainder(mixed[..., 0], _ROWS).long()
        return self.table[row].to(latent.dtype), state
