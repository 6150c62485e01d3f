"""How well a corpus of codes uses the books."""

from typing import NamedTuple

import torch
from torch import Tensor


class BookUsage(NamedTuple):
    """One book: share of codes that occur, perplexity (1..K), entropy over its maximum (0..1)."""

    used_share: float
    perplexity: float
    normalised_entropy: float


def book_statistics(codes: Tensor, code_sizes: tuple[int, ...]) -> tuple[BookUsage, ...]:
    """Return the usage of each book from codes [..., K] of at least one frame."""
    frames = codes.reshape(-1, len(code_sizes))
    return tuple(_usage(frames[:, index], size) for index, size in enumerate(code_sizes))


def _usage(codes: Tensor, size: int) -> BookUsage:
    counts = torch.bincount(codes, minlength=size).double()
    shares = counts / counts.sum()
    entropy = -torch.xlogy(shares, shares).sum()
    used = (counts > 0).double().mean()
    log_size = torch.log(torch.tensor(float(size), dtype=torch.float64))
    return BookUsage(used.item(), entropy.exp().item(), (entropy / log_size).item())
