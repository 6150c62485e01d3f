"""The exponential average of the weights: what is validated and exported."""

import torch
from torch import Tensor, nn


class WeightAverage:
    """Follows a model's parameters; buffers are taken as they are."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.weights = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.steps += 1
        # Early on the average would still be the random start.
        decay = min(self.decay, self.steps / (self.steps + 10))
        current = [parameter.detach() for _, parameter in model.named_parameters()]
        torch._foreach_lerp_(list(self.weights.values()), current, 1 - decay)

    def model_state(self, model: nn.Module) -> dict[str, Tensor]:
        """Return the state dict of `model` with the averaged weights in it."""
        state: dict[str, Tensor] = model.state_dict()
        return {**state, **self.weights}
