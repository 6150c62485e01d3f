"""The objective of one stage: losses, optimizers and, where it has one, the adversary."""

from typing import NamedTuple, assert_never

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from grove.codec.model.codec import CodecNetwork, CodecOutput
from grove.training.config import (
    AdversarialStage,
    ReconstructionStage,
    RefineStage,
    StageConfig,
)
from grove.training.loss.adversary import Adversary, AdversaryConfig
from grove.training.loss.balance import Balancer, Weighted
from grove.training.loss.losses import ReconstructionLoss, signal_to_noise_db
from grove.training.loss.measures import Heard
from grove.training.loss.terms import LossConfig
from grove.training.optimizers import build_optimizers
from grove.training.ranks import Ranks


class StepLosses(NamedTuple):
    """What a step has to say for itself, as numbers by name."""

    total: Tensor
    terms: dict[str, Tensor]


class Pair(NamedTuple):
    """What the codec was to reproduce [B, N], and with how many levels a frame [B, T]."""

    reference: Tensor
    levels: Tensor


def adversary_of(stage: StageConfig) -> AdversaryConfig | None:
    """Return the adversary that a stage asks for."""
    match stage:
        case ReconstructionStage():
            return None
        case AdversarialStage() | RefineStage():
            return stage.adversary
        case _:
            assert_never(stage)


class Objective(nn.Module):
    """Lives as long as its stage; its optimizers and adversary are part of a checkpoint."""

    def __init__(self, codec: CodecNetwork, stage: StageConfig) -> None:
        super().__init__()
        self.stage = stage
        self.reconstruction = ReconstructionLoss(
            stage.losses, codec.config.sample_rate_hz, codec.decoder.head
        )
        adversary = adversary_of(stage)
        self.adversary = Adversary(adversary) if adversary else None
        self.balancer = Balancer(stage.losses.balance)
        self.optimizers: list[Optimizer] = build_optimizers(codec, stage.optimizer)

    @property
    def losses(self) -> LossConfig:
        return self.stage.losses

    def codec_losses(
        self, output: CodecOutput, pair: Pair, scales: list[int], heard: bool, ranks: Ranks
    ) -> StepLosses:
        """Return the codec's losses; the adversary's share only where it is `heard` yet."""
        weights, reference = self.losses, pair.reference
        follow = self.reconstruction.follow(pair.levels)
        pcm, twin = _texture(output, follow)
        heard_now = Heard(pcm, twin, output.low)
        found = self.reconstruction(heard_now, reference, scales, follow, output.parts)
        terms = {name: Weighted(weights.weight(name), value) for name, value in found.items()}
        if self.adversary is not None and heard:
            fooled = self.adversary.codec_losses(pcm, reference)
            terms["adversarial"] = Weighted(weights.adversarial, fooled.adversarial)
            terms["features"] = Weighted(weights.feature_matching, fooled.feature_matching)
        used = {name: term for name, term in terms.items() if term.weight}
        total = self.balancer.total(used, output.pcm, ranks) + weights.commitment * output.loss
        named = {name: term.value.detach() for name, term in used.items()}
        named["commitment"] = output.loss.detach()
        named["snr_db"] = signal_to_noise_db(output.pcm.detach(), reference)
        return StepLosses(total, named)


def _texture(output: CodecOutput, follow: Tensor) -> tuple[Tensor, Tensor]:
    """Return both draws [B, N], their waveform held still as far as it follows (`follow` [B]).

    There only its own term moves it: what else wants a say (a likely texture, the right energy)
    would blur it, and can have its way by what is added. A head without chance has only the one.
    """
    if output.parts is None:
        return output.pcm, output.twin
    held = (output.low - output.low.detach()) * follow.unsqueeze(1)
    return output.pcm - held, output.twin - held


def freeze_tokens(codec: CodecNetwork, stage: StageConfig) -> None:
    """Stop whatever tokens depend on from learning, where the stage says so."""
    refining = isinstance(stage, RefineStage)
    codec.encoder.requires_grad_(not refining)
    codec.quantizer.requires_grad_(not refining)
    codec.quantizer.train(not refining)


@torch.no_grad()
def start_books(codec: CodecNetwork, batches: list[Tensor]) -> None:
    """Run k-means on the latents of many crops at once, one level after the other."""
    latents = []
    for pcm in batches:
        padded = codec.pad(pcm)
        state = padded.new_zeros(len(pcm), codec.encoder.state_size)
        latents.append(codec.encoder(padded, state)[0])
    rows = torch.cat(latents)
    for _ in range(codec.quantizer.levels):
        codec.quantizer(rows)
