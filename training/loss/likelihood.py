"""The likelihood of the original under what a decoder that draws noise says of it.

A draw of noise tells little of the size it was drawn with. But the sizes are known before the
drawing: a coefficient of the short transforms is normal around what is certain, as wide as chance
is large, and the original's own coefficients can be looked up under that. It is a proper score
without any noise of the draw, so envelopes are learned in a fraction of the steps.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grove.codec.config import MdctConfig
from grove.codec.model.mdct import Mdct
from grove.codec.model.subframes import Parts, SubframeHead

_FLOOR = 1e-5
# Below it a voice's noise is what coding leaves over, and that must not be taught to be sound.
_FIRST_HZ = 800
# Beyond five deviations the penalty grows as a logarithm: an onset must not outweigh a second.
_FAR = 25.0


class LikelihoodDistance(nn.Module):
    """Negative log-likelihood a coefficient, in nats, above 800 Hz."""

    def __init__(self, head: SubframeHead, sample_rate_hz: int) -> None:
        super().__init__()
        self.delay_samples = head.delay_samples
        self.first = round(2 * head.short * _FIRST_HZ / sample_rate_hz)
        self.mdct = Mdct(head.short, MdctConfig(overlap_samples=head.short))

    def forward(self, parts: Parts, reference: Tensor) -> Tensor:
        """Score `parts` of a whole decoding against reference [B, N]."""
        samples = parts.low.shape[1]
        late = F.pad(reference, (self.delay_samples, samples))[:, :samples]
        # Noise must not be taught to undo the waveform, nor the waveform to be noise.
        rest = late - parts.low.detach()
        actual, _ = self.mdct(rest, rest.new_zeros(len(rest), self.mdct.state_size))
        # The analysis of a step ends with it, the synthesis begins with it.
        actual = actual[:, 1:, self.first :]
        certain, tonal, chance = (
            x[:, :-1, self.first :] for x in (parts.certain, parts.tonal_size, parts.chance)
        )
        # Pulses are not asked to be in phase, only to be as strong as they were meant to be.
        variance = tonal.square() + chance.square() + _FLOOR**2
        ratio = (actual - certain).square() / variance
        far = _FAR * (1 + (ratio.clamp_min(_FAR) / _FAR).log())
        return (torch.where(ratio < _FAR, ratio, far) + variance.log()).mean() / 2
