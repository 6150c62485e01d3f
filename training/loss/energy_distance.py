"""How far a decoder with chance is from the original: the energy distance of spectrograms.

A plain distance to one outcome of a noise asks for its median: too quiet, and always the same, so a
decoder learns not to use its chance. Two draws of the decoder settle that: the mean distance of
both to the original, less half the distance between them, is smallest only where the draws are
spread as originals are (Gritsenko et al. 2020; for one number it is the CRPS). Each bin of each
spectrogram is scored so.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from grove.training.config import SpectralScale
from grove.training.loss.perceptual import mel_bank
from grove.training.loss.spectra import spectra

_POWER_FLOOR = 1e-9
_MEL_FLOOR = 1e-4
_COLOUR_FLOOR = 1e-5
_LOW_BAND_HZ = 1200
_LEAST_LOW_WINDOW = 512


class View(NamedTuple):
    """What one window length shows of signals [B, N]."""

    root: Tensor  # of the magnitudes [B, T, bins]
    log_mel: Tensor  # [B, T, bands]
    low: Tensor  # the complex spectrum below 1.2 kHz [B, T, low, 2]
    colour: Tensor  # log of the mean power over the whole signal [B, bands]


class Spectrogram(nn.Module):
    """Signals [B, N] through one window."""

    def __init__(self, sample_rate_hz: int, scale: SpectralScale) -> None:
        super().__init__()
        self.window_samples, bands = scale
        bank = mel_bank(sample_rate_hz, self.window_samples, bands)
        self.low_bins = round(_LOW_BAND_HZ / sample_rate_hz * self.window_samples)
        self.register_buffer("window", torch.hann_window(self.window_samples), persistent=False)
        self.register_buffer("bank", bank, persistent=False)
        self.window: Tensor
        self.bank: Tensor

    def forward(self, signal: Tensor) -> View:
        power, low = spectra(signal, self.window, self.low_bins)
        magnitude = (power + _POWER_FLOOR).sqrt()
        log_mel = (magnitude @ self.bank).clamp_min(_MEL_FLOOR).log()
        colour = (power.mean(1) @ self.bank + _COLOUR_FLOOR).log()
        return View(magnitude.sqrt(), log_mel, low, colour)


class EnergyTerms(NamedTuple):
    """Scalars: the distance, and two that hold what it leaves open."""

    distance: Tensor
    low_band: Tensor
    """Of the complex spectrum, where bits carry the waveform."""
    colour: Tensor
    """Of the energy over the whole signal by bands: what is uncertain must not come out quiet."""


class EnergyDistance(nn.Module):
    """Scores two draws of a decoder against the original, at several window lengths."""

    def __init__(
        self, sample_rate_hz: int, scales: Sequence[SpectralScale], repulsion: float
    ) -> None:
        super().__init__()
        self.repulsion = repulsion
        self.windows = [window for window, _ in scales]
        self.scales = nn.ModuleList(Spectrogram(sample_rate_hz, scale) for scale in scales)

    def forward(
        self, draws: tuple[Tensor, Tensor], x: Tensor, scales: Sequence[int], follow: Tensor
    ) -> EnergyTerms:
        """Compare both draws [B, N] with x [B, N]; `follow` [B] weighs what hears phase."""
        distances, low, colours = [], [], []
        for index in scales:
            view = self.scales[index]
            with torch.no_grad():
                real: View = view(x)
            halves = map(_halves, view(torch.cat(draws)))
            one, two = (View(*parts) for parts in zip(*halves, strict=True))
            spread = self.repulsion * _apart(one, two, real)
            distances.append((_apart(one, real, real) + _apart(two, real, real) - spread) / 2)
            colours.append((one.colour - real.colour).abs().mean())
            if self.windows[index] >= _LEAST_LOW_WINDOW:
                low.append((_complex(one, real) * follow).mean())
        still = x.new_zeros(())
        return EnergyTerms(
            torch.stack(distances).mean(),
            torch.stack(low).mean() if low else still,
            torch.stack(colours).mean(),
        )


def _halves(pair: Tensor) -> tuple[Tensor, ...]:
    return pair.chunk(2)


def _apart(one: View, two: View, real: View) -> Tensor:
    root = (one.root - two.root).abs().sum((1, 2)) / real.root.sum((1, 2))
    return 2 * root.mean() + (one.log_mel - two.log_mel).abs().mean()


def _complex(decoded: View, real: View) -> Tensor:
    """Return per clip [B] the size of the difference over that of the original."""
    apart = (decoded.low - real.low).square().sum(-1)
    size = real.root[:, :, : real.low.shape[2]].square()
    return (apart + _POWER_FLOOR).sqrt().sum((1, 2)) / size.sum((1, 2)).clamp_min(1e-5)
