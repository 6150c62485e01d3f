"""Distributed training: what each rank trains on, and what all of them average."""

import os
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Ranks(NamedTuple):
    """This process among the world's."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """Return this rank's part of a global batch."""
        per_rank = batch // self.world
        return slice(self.rank * per_rank, (self.rank + 1) * per_rank)

    def average_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Average gradients over ranks in one message, in float32."""
        if self.world == 1:
            return
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        dist.all_reduce(flat)
        flat /= self.world
        parts = torch.split(flat, [grad.numel() for grad in grads])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.reshape(parameter.shape).clone()

    def mean(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Average scalars over ranks."""
        if self.world == 1 or not terms:
            return terms
        values = torch.stack([term.float() for term in terms.values()])
        dist.all_reduce(values)
        return dict(zip(terms, values / self.world, strict=True))


def join_ranks() -> Ranks:
    """Read torchrun's variables; without them, be alone. A GPU is used where there is one."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    cuda = torch.cuda.is_available()
    device = (
        torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        if cuda
        else torch.device("cpu")
    )
    if cuda:
        torch.cuda.set_device(device)
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo")
    return Ranks(rank, world, device)
