"""Spectral distances at one window length each: of log-mel bands, and of the complex spectrum."""

import torch
from torch import Tensor, nn

from grove.training.loss.measures import SpectralScale
from grove.training.loss.perceptual import mel_bank

_MEL_FLOOR = 1e-3


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
