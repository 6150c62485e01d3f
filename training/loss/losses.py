"""Reconstruction losses, in float32, on signals brought to one level so that quiet clips count."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from grove.codec.model.subframes import Parts
from grove.training.loss.measures import Compared, Heard, Setting
from grove.training.loss.terms import LossConfig

_RMS_FLOOR = 1e-3


class ReconstructionLoss(nn.Module):
    """The terms of a pair of signals, by name and unweighted; those that weigh nothing are not."""

    def __init__(
        self, config: LossConfig, sample_rate_hz: int, head: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.terms = config.measured()
        setting = Setting(config, sample_rate_hz, head)
        once = dict.fromkeys(self.terms.values())
        self.measures = nn.ModuleList(measure(setting) for measure in once)

    def forward(
        self,
        heard: Heard,
        reference: Tensor,
        scales: Sequence[int],
        follow: Tensor,
        parts: Parts | None = None,
    ) -> dict[str, Tensor]:
        """Compare signals [B, N] at the drawn `scales`; `follow` [B] weighs what hears phase.

        Of a decoder's two draws only the energy distance hears the second.
        """
        pcm, twin, low, x = (signal.float() for signal in (*heard, reference))
        if self.config.level_normalised:
            rms = x.square().mean(1, keepdim=True).sqrt() + _RMS_FLOOR
            pcm, twin, low, x = pcm / rms, twin / rms, low / rms, x / rms
        compared = Compared(Heard(pcm, twin, low), x, scales, follow, parts, reference)
        found: dict[str, Tensor] = {}
        for measure in self.measures:
            found |= measure(compared)
        return {name: found[name] for name in self.terms if name in found}

    def follow(self, levels: Tensor) -> Tensor:
        """Return how much clips of levels [B, T] shall follow the waveform: [B]."""
        shares = self.config.follow_by_level
        if not shares:
            return torch.ones(len(levels), device=levels.device)
        table = torch.tensor((0.0, *shares), device=levels.device)
        # The most that a frame of the clip carries: lost frames do not make a clip a low-rate one.
        return table[levels.amax(1).clamp(max=len(shares))]


def signal_to_noise_db(decoded: Tensor, reference: Tensor) -> Tensor:
    """Return the mean over clips of the signal-to-noise ratio, each within -20..40 dB."""
    noise = (reference - decoded).square().sum(1).clamp_min(1e-9)
    ratio = 10 * torch.log10(reference.square().sum(1).clamp_min(1e-9) / noise)
    return ratio.clamp(-20, 40).mean()
