"""Starts the linear path around the network at the principal axes of companded audio."""

import torch
from torch import Tensor, nn

from grove.codec.config import GrvqConfig, QuantizerConfig
from grove.codec.model.codec import CodecNetwork
from grove.codec.model.frontends import MdctFrontend
from grove.codec.model.heads import MdctHead
from grove.codec.model.subframes import SubframeHead
from grove.training.loss.perceptual import hertz_to_mel, triangles


def dealt(axes: Tensor, quantizer: QuantizerConfig) -> Tensor:
    """Reorder columns [N, D], strongest first, so that neighbours fall to different groups."""
    groups = quantizer.groups if isinstance(quantizer, GrvqConfig) else 1
    return torch.cat([axes[:, group::groups] for group in range(groups)], dim=1)


@torch.no_grad()
def start_linear_path(codec: CodecNetwork, batches: list[Tensor]) -> bool:
    """Set P and Q from crops [B, N]; return whether this codec has a linear path at all."""
    frontend, project = codec.encoder.frontend, codec.encoder.linear
    if not isinstance(frontend, MdctFrontend) or project is None:
        return False
    back = _back_to_coefficients(codec)
    carried = codec.hop if back is None else back.out_features
    moment = torch.zeros(carried, carried, dtype=torch.float64)
    for pcm in batches:
        padded = codec.pad(pcm)
        state = padded.new_zeros(len(pcm), frontend.state_size)
        rows = frontend(padded, state).linear.reshape(-1, codec.hop)[:, :carried].double().cpu()
        moment += rows.T @ rows
    _, axes = torch.linalg.eigh(moment)
    leading = axes[:, -project.out_features :].flip(1)
    if codec.encoder.shape is not None:
        weight = codec.encoder.shape.weight
        weight.zero_()[:, : codec.hop] = shape_bank(len(weight), codec.hop)
    # In turn, so that the groups of a grouped quantizer carry like shares of the energy.
    spare = project.out_features - leading.shape[1]
    leading = dealt(torch.nn.functional.pad(leading, (0, spare)), codec.config.quantizer)
    project.weight.zero_()
    project.weight[:, :carried] = leading.T.float()
    if back is not None:
        back.weight.copy_(leading.float())
    return True


def _back_to_coefficients(codec: CodecNetwork) -> nn.Linear | None:
    match codec.decoder.head:
        case MdctHead() as head:
            return head.linear
        case SubframeHead() as head:
            return head.low.linear
        case _:
            return None


def shape_bank(channels: int, bins: int) -> Tensor:
    """Return weights by which channels are levels of mel bands; a third is left to the network."""
    bands = max(1, 2 * channels // 3)
    hertz = (torch.arange(bins) + 0.5) * 12_000 / bins
    bank = triangles(hertz_to_mel(hertz), bands)
    weight = torch.zeros(channels, bins)
    # By the root of the count, not by the count: a wide band's level is the surer one.
    weight[:bands] = (bank / bank.square().sum(0).sqrt().clamp_min(1e-6)).T
    return weight
