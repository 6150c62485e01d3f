"""From the decoder's hidden frames back to samples."""

from typing import TypeAlias, assert_never

import torch
from torch import Tensor, nn

from grove.codec.config import (
    CodecConfig,
    MagPhaseConfig,
    MdctHeadConfig,
    SeanetConfig,
    SubframeConfig,
)
from grove.codec.model.layers import split_state
from grove.codec.model.mdct import Companding, InverseMdct
from grove.codec.model.scatter import Scatter
from grove.codec.model.seanet import seanet_decoder
from grove.codec.model.stft import InverseStft, Spectrum
from grove.codec.model.subframes import SubframeHead

_GAIN_LIMIT = 4.0
# What full scale reaches in one bin of a unitary transform is the root of the window length.
_LOG_MAGNITUDE_LIMIT = 4.0
_LOG_QUIET = -4.0
_PHASE_FLOOR = 1e-8


class MdctHead(nn.Module):
    """Companded coefficients: the linear path with a learned gain, plus what the network adds."""

    def __init__(self, config: CodecConfig, head: MdctHeadConfig) -> None:
        super().__init__()
        hop, width = config.hop_samples, config.decoder.width
        self.shape = config.shape
        self.linear = nn.Linear(config.latent - config.shape, hop, bias=False)
        self.gain = nn.Linear(width, hop)
        self.residual = nn.Linear(width, hop)
        for layer in (self.gain, self.residual):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.companding = Companding(head.companding)
        self.inverse = InverseMdct(hop, head)
        self.kept = hop
        self.scatter: Scatter | None = None
        scatter_size = 0
        if head.scatter_from_hz is not None:
            self.kept = min(hop, round(2 * hop * head.scatter_from_hz / config.sample_rate_hz))
            self.scatter = Scatter(config.latent, hop - self.kept)
            scatter_size = self.scatter.state_size
        self.state_sizes = (self.inverse.state_size, scatter_size)
        self.state_size = sum(self.state_sizes)
        self.delay_samples = self.inverse.delay_samples

    def forward(self, hidden: Tensor, latent: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return pcm [B, T*N] for hidden [B, T, W] and latent [B, T, D]."""
        inverse_state, scatter_state = split_state(state, self.state_sizes)
        gain = self.gain(hidden).clamp(-_GAIN_LIMIT, _GAIN_LIMIT).exp()
        companded = self.linear(latent[..., self.shape :]) * gain + self.residual(hidden)
        if self.scatter is not None:
            signs, scatter_state = self.scatter(latent, scatter_state)
            low, high = torch.tensor_split(companded, [self.kept], dim=2)
            companded = torch.cat([low, high * signs], dim=2)
        pcm, inverse_state = self.inverse(self.companding.expand(companded), inverse_state)
        return pcm, torch.cat([inverse_state, scatter_state], dim=1)


class MagPhaseHead(nn.Module):
    """Magnitude and phase of each bin of an STFT, then overlap-add; the latent is not used."""

    def __init__(self, hop_samples: int, width: int, config: MagPhaseConfig) -> None:
        super().__init__()
        self.inverse = InverseStft(hop_samples, config.window_samples)
        self.log_magnitude = nn.Linear(width, self.inverse.bins)
        nn.init.constant_(self.log_magnitude.bias, _LOG_QUIET)
        self.phase = nn.Linear(width, 2 * self.inverse.bins)
        self.state_size = self.inverse.state_size
        self.delay_samples = self.inverse.delay_samples

    def forward(self, hidden: Tensor, _latent: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return pcm [B, T*N] for hidden [B, T, W]."""
        pcm, state = self.inverse(self.spectrum(hidden), state)
        return pcm, state

    def spectrum(self, hidden: Tensor) -> Spectrum:
        """Return the spectrum that hidden [B, T, W] says."""
        magnitude = self.log_magnitude(hidden).clamp(max=_LOG_MAGNITUDE_LIMIT).exp()
        x, y = self.phase(hidden).chunk(2, dim=2)
        # Two outputs per bin name a direction: an angle would have a seam.
        scale = magnitude / (x.square() + y.square() + _PHASE_FLOOR).sqrt()
        return Spectrum(x * scale, y * scale)


class SeanetHead(nn.Module):
    """Transposed convolutions up to the samples. It adds no delay."""

    def __init__(self, width: int, config: SeanetConfig) -> None:
        super().__init__()
        self.decoder = seanet_decoder(config, width)
        self.state_size = self.decoder.state_size
        self.delay_samples = 0

    def forward(self, hidden: Tensor, _latent: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return pcm [B, T*N] for hidden [B, T, W]."""
        pcm, state = self.decoder(hidden, state)
        return pcm.reshape(hidden.shape[0], -1), state


Head: TypeAlias = MdctHead | SubframeHead | MagPhaseHead | SeanetHead


def build_head(config: CodecConfig) -> Head:
    """Return the head that `config` asks for."""
    hop, width = config.hop_samples, config.decoder.width
    match config.head:
        case MdctHeadConfig():
            return MdctHead(config, config.head)
        case SubframeConfig():
            return SubframeHead(config, config.head)
        case MagPhaseConfig():
            return MagPhaseHead(hop, width, config.head)
        case SeanetConfig():
            return SeanetHead(width, config.head)
        case _:
            assert_never(config.head)
