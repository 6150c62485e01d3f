"""Reconstruction losses, in float32, on signals brought to one level so that quiet clips count."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from grove.training.config import LossConfig, SpectralScale
from grove.training.loss.disturbance import DisturbanceDistance
from grove.training.loss.energy_distance import EnergyDistance, EnergyTerms, Heard
from grove.training.loss.perceptual import LoudnessDistance, NoiseDistance, mel_bank

_RMS_FLOOR = 1e-3
_MEL_FLOOR = 1e-3


class ReconstructionTerms(NamedTuple):
    """The unweighted terms, each a scalar."""

    mel: Tensor
    stft: Tensor
    wave: Tensor
    loudness: Tensor
    noise: Tensor
    disturbance: Tensor
    energy: Tensor
    low_band: Tensor
    colour: Tensor


class ScaleDistance(nn.Module):
    """Log-mel and complex-spectrum distance at one window length."""

    def __init__(self, sample_rate_hz: int, scale: SpectralScale, exponent: float) -> None:
        super().__init__()
        window_samples, bands = scale
        self.window_samples = window_samples
        self.exponent = exponent
        bank = mel_bank(sample_rate_hz, window_samples, bands)
        self.register_buffer("window", torch.hann_window(window_samples), persistent=False)
        self.register_buffer("bank", bank, persistent=False)
        self.window: Tensor
        self.bank: Tensor

    def spectrum(self, x: Tensor) -> Tensor:
        """Return the spectrum [B, T, bins, 2], real and imaginary part last."""
        n = self.window_samples
        spectrum = torch.stft(x, n, n // 4, window=self.window, return_complex=True)
        return torch.view_as_real(spectrum.transpose(1, 2))

    def forward(self, decoded: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Return per clip [B]: log-mel distance, complex distance over the mean magnitude."""
        y, x = self.spectrum(decoded), self.spectrum(reference)
        y_size, x_size = magnitude(y), magnitude(x)
        log_y = (y_size @ self.bank).clamp_min(_MEL_FLOOR).log10()
        log_x = (x_size @ self.bank).clamp_min(_MEL_FLOOR).log10()
        if self.exponent != 1.0:
            y = y * y_size.clamp_min(1e-4).pow(self.exponent - 1).unsqueeze(-1)
            x = x * x_size.clamp_min(1e-4).pow(self.exponent - 1).unsqueeze(-1)
            x_size = magnitude(x)
        scale = x_size.mean((1, 2)).clamp_min(1e-5)
        distance = magnitude(y - x).mean((1, 2)) / scale
        return (log_y - log_x).abs().mean((1, 2)), distance


def magnitude(spectrum: Tensor) -> Tensor:
    """Return the size of [..., 2]; three times as fast as the absolute value of complex numbers."""
    return (spectrum.square().sum(-1) + 1e-12).sqrt()


class ReconstructionLoss(nn.Module):
    """All reconstruction terms of a pair of signals."""

    def __init__(self, config: LossConfig, sample_rate_hz: int) -> None:
        super().__init__()
        self.config = config
        self.scales = nn.ModuleList(
            ScaleDistance(sample_rate_hz, scale, config.stft_exponent) for scale in config.scales
        )
        self.loudness = LoudnessDistance(sample_rate_hz)
        self.noise = NoiseDistance(sample_rate_hz)
        self.disturbance = DisturbanceDistance(sample_rate_hz) if config.disturbance else None
        self.energy = EnergyDistance(sample_rate_hz, config.scales, config.repulsion)

    def forward(
        self,
        heard: Heard,
        reference: Tensor,
        scales: Sequence[int],
        follow: Tensor,
    ) -> ReconstructionTerms:
        """Compare signals [B, N] at the drawn `scales`; `follow` [B] weighs what hears phase.

        Of a decoder's two draws only the energy distance hears the second.
        """
        y, twin, low, x = (signal.float() for signal in (*heard, reference))
        if self.config.level_normalised:
            rms = x.square().mean(1, keepdim=True).sqrt() + _RMS_FLOOR
            y, twin, low, x = y / rms, twin / rms, low / rms, x / rms
        config, none = self.config, x.new_zeros(())
        mel = stft = none
        if config.mel or config.stft:
            pairs = [self.scales[index](y, x) for index in scales]
            mel = torch.stack([pair[0] for pair in pairs]).mean()
            stft = (torch.stack([pair[1] for pair in pairs]) * follow).mean()
        spectral = EnergyTerms(none, none, none)
        if config.energy or config.low_band or config.colour:
            spectral = self.energy(Heard(y, twin, low), x, scales, follow)
        return ReconstructionTerms(
            mel=mel,
            stft=stft,
            wave=((y - x).abs().mean(1) * follow).mean() if config.wave else none,
            loudness=self.loudness(y, x) if config.loudness else none,
            noise=(self.noise(y, x) * follow).mean() if config.noise else none,
            disturbance=self.disturbance(y, x) if self.disturbance else none,
            energy=spectral.distance,
            low_band=spectral.low_band,
            colour=spectral.colour,
        )

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
