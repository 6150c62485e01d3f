"""Perceptual distances: in critical bands, in loudness."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def hertz_to_bark(hertz: Tensor) -> Tensor:
    """Zwicker's critical-band rate."""
    return 13 * torch.atan(0.00076 * hertz) + 3.5 * torch.atan((hertz / 7500) ** 2)


def triangles(positions: Tensor, bands: int) -> Tensor:
    """Return a filter bank [bins, bands] of overlapping triangles, evenly spaced in `positions`."""
    edges = torch.linspace(float(positions[0]), float(positions[-1]), bands + 2)
    rising = (positions[:, None] - edges[None, :-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[None, 2:] - positions[:, None]) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp_min(0)


def hertz_to_mel(hertz: Tensor) -> Tensor:
    return 2595 * torch.log10(1 + hertz / 700)


def mel_bank(sample_rate_hz: int, window_samples: int, bands: int) -> Tensor:
    """Return area-normalised mel triangles [bins, bands]."""
    bins = torch.linspace(0, sample_rate_hz / 2, window_samples // 2 + 1)
    bank = triangles(hertz_to_mel(bins), bands)
    return bank / bank.sum(0).clamp_min(1e-8)


class LoudnessDistance(nn.Module):
    """Distance of specific loudness per critical band, after the model inside ITU-T P.862.

    Differences hidden by masking (a quarter of the smaller loudness) count nothing; energy that the
    codec added counts more than energy it left out, as in the standard's asymmetry factor.
    """

    _FRAME_SECONDS = 0.032
    _GAMMA = 0.23
    _LISTENING_DB = 79.0
    _ASYMMETRY_SHARE = 0.31

    def __init__(self, sample_rate_hz: int, bands_per_bark: float = 2.25) -> None:
        super().__init__()
        self.window_samples = 2 * round(self._FRAME_SECONDS * sample_rate_hz / 2)
        bins = torch.linspace(0, sample_rate_hz / 2, self.window_samples // 2 + 1)
        bark = hertz_to_bark(bins)
        bank = triangles(bark, round(float(bark[-1]) * bands_per_bark))
        centres = (bank * bins[:, None]).sum(0) / bank.sum(0)
        self.register_buffer("bank", bank, persistent=False)
        self.register_buffer("window", torch.hann_window(self.window_samples), persistent=False)
        self.register_buffer("threshold", hearing_threshold(centres), persistent=False)
        self.bank: Tensor
        self.window: Tensor
        self.threshold: Tensor

    def forward(self, decoded: Tensor, reference: Tensor) -> Tensor:
        """Return the disturbance for signals [B, N] of unit power."""
        y, x = self.bark_power(decoded), self.bark_power(reference)
        loud_y, loud_x = self.loudness(y), self.loudness(x)
        difference = loud_y - loud_x
        masked = 0.25 * torch.minimum(loud_y, loud_x)
        disturbance = F.relu(difference.abs() - masked)
        ratio = ((y.detach() + 50) / (x + 50)).pow(1.2).clamp(max=12.0)
        added = disturbance * torch.where(ratio > 3, ratio, torch.zeros_like(ratio))
        # The standard weighs frames by their power: an error in a pause is heard more.
        audible = (x.mean(2) + 1e5).div(1e7).pow(0.04)
        symmetric = (disturbance.square().mean(2) + 1e-8).sqrt() / audible
        return symmetric.mean() + self._ASYMMETRY_SHARE * (added.mean(2) / audible).mean()

    def bark_power(self, signal: Tensor) -> Tensor:
        """Return power [B, T, bands], where unit signal power lies at the listening level."""
        n = self.window_samples
        spectrum = torch.stft(signal, n, n // 2, window=self.window, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        scale = 10 ** (self._LISTENING_DB / 10) / (n * float(self.window.square().sum()) / 2)
        return (power * scale).transpose(1, 2) @ self.bank

    def loudness(self, power: Tensor) -> Tensor:
        """Zwicker's law: loudness [B, T, bands] in sone per band, zero below the threshold."""
        relative = power / self.threshold
        scale = (self.threshold / 0.5).pow(self._GAMMA)
        return scale * F.relu((0.5 + 0.5 * relative).pow(self._GAMMA) - 1)


def hearing_threshold(hertz: Tensor) -> Tensor:
    """Return the absolute threshold as a power, after Terhardt's curve in dB."""
    k = hertz.clamp_min(20) / 1000
    decibels = 3.64 * k.pow(-0.8) - 6.5 * torch.exp(-0.6 * (k - 3.3) ** 2) + 1e-3 * k.pow(4)
    return 10 ** (decibels.clamp(max=60) / 10)


class NoiseDistance(nn.Module):
    """Noise in each critical band against the signal there, where both can be heard.

    A spectral distance is settled by its strongest bins: a codec trained on it spends all its bits
    below 600 Hz. Here every band counts by its loudness, and counts most where noise and signal
    are alike: far above that a bit buys nothing, far below it no bit can help.
    """

    _FRAME_SECONDS = 0.0267
    _BANDS_PER_BARK = 1.5
    _LOUDNESS_EXPONENT = 0.25
    _HIGHEST_HZ = 8000.0

    def __init__(self, sample_rate_hz: int) -> None:
        super().__init__()
        self.window_samples = 4 * round(self._FRAME_SECONDS * sample_rate_hz / 4)
        bins = torch.linspace(0, sample_rate_hz / 2, self.window_samples // 2 + 1)
        bark = hertz_to_bark(bins[bins <= self._HIGHEST_HZ])
        bank = torch.zeros(len(bins), round(float(bark[-1]) * self._BANDS_PER_BARK))
        bank[: len(bark)] = triangles(bark, bank.shape[1])
        self.register_buffer("bank", bank, persistent=False)
        self.register_buffer("window", torch.hann_window(self.window_samples), persistent=False)
        self.bank: Tensor
        self.window: Tensor

    def forward(self, decoded: Tensor, reference: Tensor) -> Tensor:
        """Return for signals [B, N] of unit power: 0 without noise, towards 1 with noise alone."""
        x = self.spectrum(reference)
        signal = self.band_power(x) + 1e-3
        noise = self.band_power(self.spectrum(decoded) - x)
        loudness = signal.pow(self._LOUDNESS_EXPONENT)
        share = noise / (noise + signal)
        return (share * loudness).sum((1, 2)) / loudness.sum((1, 2))

    def spectrum(self, signal: Tensor) -> Tensor:
        """Return the spectrum [B, T, bins, 2]."""
        n = self.window_samples
        spectrum = torch.stft(signal, n, n // 2, window=self.window, return_complex=True)
        return torch.view_as_real(spectrum.transpose(1, 2))

    def band_power(self, spectrum: Tensor) -> Tensor:
        """Return the power [B, T, bands] of spectrum [B, T, bins, 2]."""
        return spectrum.square().sum(-1) @ self.bank
