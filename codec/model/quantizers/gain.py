"""How large a residual will be, as the levels before it tell without a bit of their own."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grove.codec.model.quantizers.book import FitRows
from grove.codec.model.quantizers.ranks import sum_over_ranks

_WIDTH = 40
_LIMIT = 8.0
_LEAST_POWER = 1e-8


class ResidualGain(nn.Module):
    """Log of the root mean square that each group's residual is expected to have.

    The groups are those of the channels from `first` on; the others keep their size.
    """

    def __init__(self, dim: int, groups: int, first: int = 0) -> None:
        super().__init__()
        self.groups = groups
        self.first = first
        self.group_width = (dim - first) // groups
        self.enter = nn.Linear(dim, _WIDTH)
        self.leave = nn.Linear(_WIDTH, groups)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, before: Tensor) -> Tensor:
        """Return log gains [N, G] from the sum of the earlier levels' values [N, D]."""
        log_gain: Tensor = self.leave(F.relu(self.enter(before)))
        return log_gain.clamp(-_LIMIT, _LIMIT)

    def surprise(self, log_gain: Tensor, residual: Tensor) -> Tensor:
        """Return the loss [N] that makes gains [N, G] those of residual [N, D]: a Gaussian's."""
        power = self._power(residual)
        return (log_gain + 0.5 * power * torch.exp(-2 * log_gain)).mean(-1)

    def spread(self, log_gain: Tensor) -> Tensor:
        """Return the gain of every channel [N, D] from log gains [N, G]."""
        gains = log_gain.exp()
        parts = [
            gains[:, group : group + 1].expand(-1, self.group_width) for group in range(self.groups)
        ]
        if self.first:
            parts = [gains.new_ones(gains.shape[0], self.first), *parts]
        return torch.cat(parts, dim=-1)

    @torch.no_grad()
    def start(self, residual: Tensor, fit: FitRows) -> None:
        """Begin with the one gain per group that fits the rows of residual [N, D] best."""
        if not fit.any:
            return
        total = sum_over_ranks(self._power(fit.of(residual)).sum(0))
        mean = total / sum(fit.rank_rows)
        self.leave.bias.copy_(0.5 * mean.clamp(min=_LEAST_POWER).log())

    def _power(self, residual: Tensor) -> Tensor:
        """Return the mean square of each group of residual [N, D]: [N, G]."""
        tail = residual.detach()[:, self.first :]
        groups = tail.reshape(-1, self.groups, self.group_width)
        return groups.square().mean(-1)
