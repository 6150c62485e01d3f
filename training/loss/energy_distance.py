"""The energy distance of spectrograms: how far a decoder that draws noise is from the original.

A plain distance to one outcome of a noise asks for its median: too quiet, and always the same, so a
decoder learns not to use its chance. Two draws of the decoder settle that: the mean distance of
both to the original, less half the distance between them, is smallest only where the draws are
spread as originals are (Gritsenko et al. 2020; for one number it is the CRPS). Each bin of each
spectrogram is scored so.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from grove.training.loss.measures import Heard, SpectralScale
from grove.training.loss.perceptual import mel_bank
from grove.training.loss.spectra import spectra

_POWER_FLOOR = 1e-9
_MEL_FLOOR = 1e-4
_COLOUR_FLOOR = 1e-5
# Bands of the waveform, each relative to itself: at the foot of a voice is most of its energy, and
# the ear asks for the first formant as much. Above that, bits for a waveform seldom suffice.
_LOW_EDGES_HZ = (0, 200, 350, 500, 650, 800, 1000, 1200, 1400)
_LOW_WEIGHTS = (0.18, 0.18, 0.18, 0.16, 0.14, 0.08, 0.05, 0.03)
# A band with less than this share of what a band has on average is not worth following.
_LEAST_BAND = 0.05
_LEAST_LOW_WINDOW = 512


class View(NamedTuple):
    """What one window length shows of signals [B, N]."""

    root: Tensor  # of the magnitudes [B, T, bins]
    log_mel: Tensor  # [B, T, bands]
    low: Tensor  # the complex spectrum below 1.4 kHz [B, T, low, 2]
    colour: Tensor  # log of the mean power over the whole signal [B, bands]


class Spectrogram(nn.Module):
    """Signals [B, N] through one window."""

    def __init__(self, sample_rate_hz: int, scale: SpectralScale) -> None:
        super().__init__()
        self.window_samples, bands = scale
        bank = mel_bank(sample_rate_hz, self.window_samples, bands)
        edges = [round(hertz / sample_rate_hz * self.window_samples) for hertz in _LOW_EDGES_HZ]
        self.low_bins = edges[-1]
        low_bank = torch.zeros(self.low_bins, len(edges) - 1)
        for band, (first, end) in enumerate(pairwise(edges)):
            low_bank[first:end, band] = 1.0
        self.register_buffer("low_weights", torch.tensor(_LOW_WEIGHTS), persistent=False)
        self.register_buffer("window", torch.hann_window(self.window_samples), persistent=False)
        self.register_buffer("bank", bank, persistent=False)
        self.register_buffer("low_bank", low_bank, persistent=False)
        self.window: Tensor
        self.bank: Tensor
        self.low_bank: Tensor
        self.low_weights: Tensor

    def forward(self, signal: Tensor) -> View:
        power, low = spectra(signal, self.window, self.low_bins)
        magnitude = (power + _POWER_FLOOR).sqrt()
        log_mel = (magnitude @ self.bank).clamp_min(_MEL_FLOOR).log()
        colour = (power.mean(1) @ self.bank + _COLOUR_FLOOR).log()
        return View(magnitude.sqrt(), log_mel, low, colour)

    def unlike(self, decoded: Tensor, real: View) -> Tensor:
        """Return per clip [B] how far the waveform [B, N] is off: over its size, by bands."""
        low = spectra(decoded, self.window, self.low_bins).low
        apart = ((low - real.low).square().sum(-1) + _POWER_FLOOR).sqrt()
        size = real.root[:, :, : self.low_bins].square().sum(1) @ self.low_bank
        least = _LEAST_BAND * size.mean(1, keepdim=True) + 1e-5
        return ((apart.sum(1) @ self.low_bank) / size.maximum(least)) @ self.low_weights


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
        self, heard: Heard, x: Tensor, scales: Sequence[int], follow: Tensor
    ) -> EnergyTerms:
        """Compare both draws [B, N] with x [B, N]; `follow` [B] weighs what hears phase."""
        distances, low, colours = [], [], []
        for index in scales:
            view = self.scales[index]
            assert isinstance(view, Spectrogram)
            with torch.no_grad():
                real: View = view(x)
            halves = map(_halves, view(torch.cat([heard.pcm, heard.twin])))
            one, two = (View(*parts) for parts in zip(*halves, strict=True))
            spread = self.repulsion * _apart(one, two, real)
            distances.append((_apart(one, real, real) + _apart(two, real, real) - spread) / 2)
            colours.append((one.colour - real.colour).abs().mean())
            if self.windows[index] >= _LEAST_LOW_WINDOW:
                low.append((view.unlike(heard.low, real) * follow).mean())
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
