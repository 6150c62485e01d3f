"""From samples to per-frame features. Some front ends also offer a linear view of the frame."""

from typing import NamedTuple, TypeAlias, assert_never

import torch
from torch import Tensor, nn

from grove.codec.config import (
    CodecConfig,
    MdctConfig,
    MdctFrontendConfig,
    SeanetConfig,
    StftConfig,
)
from grove.codec.model.layers import split_state
from grove.codec.model.mdct import Companding, Mdct
from grove.codec.model.seanet import seanet_encoder
from grove.codec.model.stft import Spectrum, Stft

_POWER_FLOOR = 1e-10
_ROOTS = 6


class Features(NamedTuple):
    """What a front end hands on."""

    network: Tensor  # [B, T, features], input of the trunk
    linear: Tensor | None  # [B, T, linear_width], input of the linear path around it
    shape: Tensor | None  # [B, T, shape_width], magnitudes, for channels that begin as these
    state: Tensor  # [B, S]


class MdctFrontend(nn.Module):
    """Companded MDCT coefficients, with their magnitudes beside them for the network."""

    def __init__(self, hop_samples: int, config: MdctFrontendConfig) -> None:
        super().__init__()
        self.mdct = Mdct(hop_samples, config)
        self.companding = Companding(config.companding)
        self.short: Mdct | None = None
        short_state = 0
        if config.subframes:
            hop = hop_samples // config.subframes
            self.short = Mdct(hop, MdctConfig(overlap_samples=hop))
            short_state = self.short.state_size
        self.linear_width = hop_samples
        self.shape_width = hop_samples if self.short is None else 2 * hop_samples
        self.features = self.linear_width + self.shape_width
        self.state_sizes = (self.mdct.state_size, short_state)
        self.state_size = sum(self.state_sizes)

    def forward(self, pcm: Tensor, state: Tensor) -> Features:
        long_state, short_state = split_state(state, self.state_sizes)
        coefficients, long_state = self.mdct(pcm, long_state)
        companded = self.companding.compress(coefficients)
        shape = self._magnitude(companded)
        if self.short is not None:
            times, short_state = self.short(pcm, short_state)
            # A frame's subframes one after the other, as one row.
            rows = self.companding.compress(times).reshape(coefficients.shape)
            shape = torch.cat([shape, self._magnitude(rows)], dim=2)
        network = torch.cat([companded, shape], dim=2)
        return Features(network, companded, shape, torch.cat([long_state, short_state], dim=1))

    @staticmethod
    def _magnitude(companded: Tensor) -> Tensor:
        """Return roots, which flatten the range for the network and, unlike logs, round exactly."""
        return (companded.abs() + 1e-3).sqrt()


class StftFrontend(nn.Module):
    """Log-magnitude and phase (cosine and sine) of each bin; there is no linear path."""

    def __init__(self, hop_samples: int, config: StftConfig) -> None:
        super().__init__()
        self.stft = Stft(hop_samples, config.window_samples)
        self.features = 3 * self.stft.bins
        self.linear_width = self.shape_width = 0
        self.state_size = self.stft.state_size

    def forward(self, pcm: Tensor, state: Tensor) -> Features:
        spectrum, state = self.stft(pcm, state)
        magnitude = magnitudes(spectrum)
        phase = [part / magnitude for part in spectrum]
        # Speech has logarithms from -10 to 2: bring them to the scale of the phases.
        level = 1 + logarithm(magnitude) / 4
        return Features(torch.cat([level, *phase], dim=2), None, None, state)


def magnitudes(spectrum: Spectrum) -> Tensor:
    """Return the magnitude of each bin, a little above zero where there is silence."""
    return (spectrum.real.square() + spectrum.imaginary.square() + _POWER_FLOOR).sqrt()


def logarithm(x: Tensor) -> Tensor:
    """Return nearly ln x, as n (x^(1/n) - 1): roots, unlike logarithms, round the same everywhere.

    A kernel may take another logarithm for the last few numbers of its input than for the bulk,
    and then codes would depend on how many frames come at once.
    """
    for _ in range(_ROOTS):
        x = x.sqrt()
    return float(1 << _ROOTS) * (x - 1)


class SeanetFrontend(nn.Module):
    """Strided convolutions straight on the samples; there is no linear path."""

    def __init__(self, latent: int, config: SeanetConfig) -> None:
        super().__init__()
        self.encoder = seanet_encoder(config, latent)
        self.features = latent
        self.linear_width = self.shape_width = 0
        self.state_size = self.encoder.state_size

    def forward(self, pcm: Tensor, state: Tensor) -> Features:
        features, state = self.encoder(pcm.unsqueeze(2), state)
        return Features(features, None, None, state)


Frontend: TypeAlias = MdctFrontend | StftFrontend | SeanetFrontend


def build_frontend(config: CodecConfig) -> Frontend:
    """Return the front end that `config` asks for."""
    match config.frontend:
        case MdctFrontendConfig():
            return MdctFrontend(config.hop_samples, config.frontend)
        case StftConfig():
            return StftFrontend(config.hop_samples, config.frontend)
        case SeanetConfig():
            return SeanetFrontend(config.latent, config.frontend)
        case _:
            assert_never(config.frontend)
