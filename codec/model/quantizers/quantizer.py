"""What every quantizer is: latent frames in, codes and a straight-through latent out."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Quantized(NamedTuple):
    """One pass: latent [B, T, D] (straight-through), codes int64 [B, T, K], loss (a scalar)."""

    latent: Tensor
    codes: Tensor
    loss: Tensor


class Quantizer(nn.Module, ABC):
    """Law: `encode(x) == forward(x).codes` and `decode(codes, n) == forward(x, n).latent`."""

    def __init__(
        self, dim: int, code_sizes: tuple[int, ...], codes_per_level: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.dim = dim
        self.code_sizes = code_sizes
        self.codes_per_level = codes_per_level

    @property
    def levels(self) -> int:
        return len(self.codes_per_level)

    @property
    def ready(self) -> bool:
        """Say whether every book has left its initial state; until then its level adds nothing."""
        return True

    @abstractmethod
    def forward(
        self, latent: Tensor, levels: Tensor | None = None, unquantized: Tensor | None = None
    ) -> Quantized:
        """Quantize latent [B, T, D] with levels int64 [B, T] (None: all) of each frame.

        Items marked in `unquantized` (bool [B]) pass through unchanged, without loss and unseen
        by the books.
        """

    @abstractmethod
    def encode(self, latent: Tensor) -> Tensor:
        """Return codes [B, T, K] for latent [B, T, D], level 0 first."""

    @abstractmethod
    def decode(self, codes: Tensor, levels: Tensor | None = None) -> Tensor:
        """Return latent [B, T, D] from the first `levels` [B, T] levels of codes [B, T, K]."""

    @abstractmethod
    def freeze(self) -> None:
        """Turn every book into plain stored tables, for export; the codes stay the same."""


@contextmanager
def full_precision(like: Tensor) -> Iterator[None]:
    """Keep autocast off the device of `like`: in half precision neighbouring codes become ties."""
    device = like.device.type
    if torch.is_autocast_enabled(device):
        with torch.autocast(device, enabled=False):
            yield
    else:
        # Also what torch.export traces: it must not meet an autocast region.
        yield


def straight_through(
    latent: Tensor, quantized: Tensor, levels: Tensor | None, unquantized: Tensor | None
) -> Tensor:
    """Give quantized [N, D] the gradient of latent [N, D]; a frame of zero levels gets none."""
    # latent - latent is an exact zero, so the value is `quantized` to the last bit, which
    # x + (q - x) is not.
    gradient = latent - latent.detach()
    if levels is not None:
        gradient = torch.where(levels.unsqueeze(-1) > 0, gradient, 0.0)
    carried = quantized.detach() + gradient
    if unquantized is None:
        return carried
    return torch.where(unquantized.unsqueeze(-1), latent, carried)


def per_frame(unquantized: Tensor | None, frames: int) -> Tensor | None:
    """Repeat a flag per item [B] for each of its frames: [B * T]."""
    return None if unquantized is None else unquantized.repeat_interleave(frames)
