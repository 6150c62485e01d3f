"""Starts the linear path around the network at the principal axes of companded audio."""

import torch
from torch import Tensor

from codec.config import GrvqConfig, QuantizerConfig
from codec.model.codec import Codec
from codec.model.frontends import MdctFrontend
from codec.model.heads import MdctHead


def dealt(axes: Tensor, quantizer: QuantizerConfig) -> Tensor:
    """Reorder columns [N, D], strongest first, so that neighbours fall to different groups."""
    groups = quantizer.groups if isinstance(quantizer, GrvqConfig) else 1
    return torch.cat([axes[:, group::groups] for group in range(groups)], dim=1)


@torch.no_grad()
def start_linear_path(codec: Codec, batches: list[Tensor]) -> bool:
    """Set P and Q from crops [B, N]; return whether this codec has a linear path at all."""
    frontend, head, project = codec.encoder.frontend, codec.decoder.head, codec.encoder.linear
    if not isinstance(frontend, MdctFrontend) or project is None:
        return False
    moment = torch.zeros(codec.hop, codec.hop, dtype=torch.float64)
    for pcm in batches:
        padded = codec.pad(pcm)
        state = padded.new_zeros(len(pcm), frontend.state_size)
        rows = frontend(padded, state).linear.reshape(-1, codec.hop).double().cpu()
        moment += rows.T @ rows
    _, axes = torch.linalg.eigh(moment)
    # Dealt out in turn, so that the groups of a grouped quantizer carry like shares of the energy.
    leading = dealt(axes[:, -codec.config.latent :].flip(1), codec.config.quantizer).float()
    project.weight.copy_(leading.T)
    if isinstance(head, MdctHead):
        head.linear.weight.copy_(leading)
    return True
