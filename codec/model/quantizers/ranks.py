"""What the ranks of a distributed training agree on, so that their books stay identical."""

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(values: Tensor) -> Tensor:
    """Add up values of all ranks in place, and return them."""
    if world_size() > 1:
        dist.all_reduce(values)
    return values


def rows_of_ranks(rows: int, device: torch.device) -> tuple[int, ...]:
    """Return how many rows each rank holds."""
    world = world_size()
    if world == 1:
        return (rows,)
    counts = torch.zeros(world, dtype=torch.int64, device=device)
    counts[dist.get_rank()] = rows
    return tuple(int(count) for count in sum_over_ranks(counts).tolist())


def draw_rows(rows: Tensor, count: int, rank_rows: tuple[int, ...]) -> Tensor:
    """Draw `count` random rows of [N, d], in turn from every rank that has some."""
    owners = [rank for rank, held in enumerate(rank_rows) if held]
    drawn = _draw(rows, count)
    if world_size() == 1:
        return drawn
    turns = torch.tensor(owners, device=rows.device)
    owner = turns[torch.arange(count, device=rows.device) % len(owners)]
    mine = (owner == dist.get_rank()).unsqueeze(-1)
    return sum_over_ranks(torch.where(mine, drawn, 0.0))


def _draw(rows: Tensor, count: int) -> Tensor:
    """Draw rows of [N, d], each once before any comes twice; zeros where there are none."""
    held = rows.shape[0]
    if held == 0:
        return rows.new_zeros(count, rows.shape[1])
    order = torch.randperm(held, device=rows.device)[:count]
    if held < count:
        again = torch.randint(held, (count - held,), device=rows.device)
        order = torch.cat([order, again])
    return rows[order]
