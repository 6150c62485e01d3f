"""From frames to sound four times a frame: a waveform below, shaped noise and tones above.

A frame of 20 ms says once how a voice sounds, and a voice has pulses every 3 to 10 ms. So only the
band that bits can follow is made from the frame's own transform. All above it comes from a small
net at the subframe rate, which sees the waveform of that band as it was decoded, and says for short
transforms what is certain (coefficients) and what is chance (a size, whose sign is drawn).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from grove.codec.config import CodecConfig, MdctConfig, SubframeConfig
from grove.codec.model.layers import Trunk, join_past, split_state
from grove.codec.model.mdct import Companding, InverseMdct, Mdct
from grove.codec.model.scatter import Scatter

_GAIN_LIMIT = 4.0
_LOG_SIZE_LIMITS = (-14.0, 4.0)
_QUIET = -4.0
_LOG_SHARE_LIMITS = (-8.0, 4.0)
_LEVEL_FLOOR = 1e-3
# The net hears the low band one subframe ahead of what it makes: a transform covers two.
_CONTEXT = 3
# Brings the pulses of voices near unit variance.
_PULSE_GAIN = 20.0


class LowBand(nn.Module):
    """The linear path with a learned gain, and what the network adds, below one frequency."""

    def __init__(self, config: CodecConfig, head: SubframeConfig) -> None:
        super().__init__()
        hop, width = config.hop_samples, config.decoder.width
        kept = min(hop, round(2 * hop * head.low_hz / config.sample_rate_hz))
        self.shape = config.shape
        self.linear = nn.Linear(config.latent - config.shape, kept, bias=False)
        self.gain = nn.Linear(width, kept)
        self.residual = nn.Linear(width, kept)
        for layer in (self.gain, self.residual):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.companding = Companding(head.low.companding)
        self.inverse = InverseMdct(hop, head.low, kept)
        self.state_size = self.inverse.state_size
        self.delay_samples = self.inverse.delay_samples

    def forward(self, hidden: Tensor, latent: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return pcm [B, T*N] for hidden [B, T, W] and latent [B, T, D]."""
        gain = self.gain(hidden).clamp(-_GAIN_LIMIT, _GAIN_LIMIT).exp()
        companded = self.linear(latent[..., self.shape :]) * gain + self.residual(hidden)
        pcm: tuple[Tensor, Tensor] = self.inverse(self.companding.expand(companded), state)
        return pcm


class Parts(NamedTuple):
    """A sound before its noise is drawn: pcm, and coefficients of the short transforms."""

    low: Tensor  # pcm [B, T*N], as late as the whole sound
    certain: Tensor  # coefficients [B, n, N/subframes]
    tonal: Tensor  # the same of pulses in step with the low band
    tonal_size: Tensor  # how large these were meant to be
    chance: Tensor  # sizes of the coefficients whose sign is drawn


class Pulses(nn.Module):
    """What a voice has above the band that is coded: all harmonics, in step with those below.

    Where the low band crosses zero its bent copy has a kink, and the second difference of a kink
    is a pulse. It costs one short transform and has the right pitch and phase by construction.
    """

    def __init__(self, short: int) -> None:
        super().__init__()
        self.short = short
        self.mdct = Mdct(short, MdctConfig(overlap_samples=short))

    def forward(self, window: Tensor) -> Tensor:
        """Return coefficients [B, n, N] for low bands [B, n, 3N] of one level; the last 2N count.

        The third before them is only for the differences' memory.
        """
        bent = window.abs() + window.relu().square()
        change = bent[..., 1:] - bent[..., :-1]
        pulses = change[..., 1:] - change[..., :-1]
        before, now = pulses[..., -2 * self.short :].chunk(2, dim=-1)
        return _PULSE_GAIN * self.mdct.blocks(before, now)


class Twins(NamedTuple):
    """A whole sound from silence, as training hears it."""

    pcm: Tensor  # [B, T*N]
    twin: Tensor  # the same with other draws of its chance
    parts: Parts | None  # what is drawn for; None of a head without chance


class SubframeHead(nn.Module):
    """hidden [B, T, W] and latent [B, T, D] -> pcm [B, T*N], late by low band and one subframe."""

    def __init__(self, config: CodecConfig, head: SubframeConfig) -> None:
        super().__init__()
        hop, width = config.hop_samples, config.decoder.width
        self.subframes = head.subframes
        self.short = hop // head.subframes
        self.low = LowBand(config, head)
        self.pulses = Pulses(self.short)
        self.scatter = Scatter(config.latent, hop)
        # Spectra span 60 dB and onsets as much: the net works on what these two leave over.
        self.loudness = nn.Linear(width, head.subframes)
        self.envelope = nn.Linear(width + config.latent, self.short)
        for layer in (self.loudness, self.envelope):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.loudness.bias, _QUIET)
        self.told = nn.Linear(width, head.subframes * head.net.width)
        self.seen = nn.Linear(_CONTEXT * self.short, head.net.width, bias=False)
        self.net = Trunk(head.net)
        self.leave = nn.Linear(head.net.width, 3 * self.short)
        with torch.no_grad():
            self.leave.weight.mul_(0.3)
            self.leave.bias[: self.short] = 0.0
            self.leave.bias[self.short :] = -1.0
        self.inverse = InverseMdct(self.short, MdctConfig(overlap_samples=self.short))
        self.state_sizes = (
            self.low.state_size,
            (_CONTEXT - 1) * self.short,
            self.net.state_size,
            self.scatter.state_size,
            self.inverse.state_size,
        )
        self.state_size = sum(self.state_sizes)
        self.delay_samples = self.low.delay_samples + self.short

    def forward(self, hidden: Tensor, latent: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sound and the next state; chance is drawn by what was lately heard."""
        scatter_state, inverse_state = split_state(state, self.state_sizes)[3:]
        parts, front_state = self.parts(hidden, latent, state)
        signs, scatter_state = self.scatter(latent, scatter_state)
        pcm, inverse_state = self.sound(parts, signs.reshape(parts.chance.shape), inverse_state)
        return pcm, torch.cat([front_state, scatter_state, inverse_state], dim=1)

    def twins(self, hidden: Tensor, latent: Tensor) -> Twins:
        """Return the sound from silence twice: by its own chance, and by torch's generator."""
        state = hidden.new_zeros(len(hidden), self.state_size)
        scatter_state, inverse_state = split_state(state, self.state_sizes)[3:]
        parts, _ = self.parts(hidden, latent, state)
        own = self.scatter(latent, scatter_state)[0].reshape(parts.chance.shape)
        drawn = 2.0 * torch.randint(0, 2, own.shape, device=own.device) - 1
        one, other = (self.sound(parts, signs, inverse_state)[0] for signs in (own, drawn))
        return Twins(one, other, parts)

    def parts(self, hidden: Tensor, latent: Tensor, state: Tensor) -> tuple[Parts, Tensor]:
        """Return what the noise is drawn for, and the states of all before the drawing."""
        low_state, seen_state, net_state, *_ = split_state(state, self.state_sizes)
        low, low_state = self.low(hidden, latent, low_state)
        batch, steps = low.shape[0], hidden.shape[1] * self.subframes
        joined, seen_state = join_past(low.reshape(batch, steps, -1), seen_state, _CONTEXT - 1)
        late = joined[:, 1 : 1 + steps].reshape(batch, -1)
        # The waveform is not bent towards what would be handy to see.
        seen = joined.detach()
        window = torch.cat([seen[:, k : k + steps] for k in range(_CONTEXT)], dim=2)
        # At one level: the shape is what counts, the loudness is told.
        window = window / (window.square().mean(2, keepdim=True).sqrt() + _LEVEL_FLOOR)
        told = self.told(hidden).reshape(batch, steps, -1)
        made, net_state = self.net(self.seen(window) + told, net_state)
        # Each subframe is as loud, each band of the frame as strong.
        envelope = self.envelope(torch.cat([hidden, latent], dim=2))
        size = self.loudness(hidden).unsqueeze(3) + envelope.unsqueeze(2)
        size = size.clamp(*_LOG_SIZE_LIMITS).exp().reshape(batch, steps, self.short)
        certain, *shares = self.leave(made).chunk(3, dim=2)
        tonal, chance = (size * share.clamp(*_LOG_SHARE_LIMITS).exp() for share in shares)
        parts = Parts(late, certain * size, tonal * self.pulses(window), tonal, chance)
        return parts, torch.cat([low_state, seen_state, net_state], dim=1)

    def sound(self, parts: Parts, signs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return pcm [B, T*N] with the signs [B, n, N/subframes] that were drawn."""
        coefficients = parts.certain + parts.tonal + parts.chance * signs
        high, state = self.inverse(coefficients, state)
        return parts.low + high, state
