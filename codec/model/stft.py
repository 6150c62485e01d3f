"""A causal STFT and its inverse, as folds and constant matrices, streaming."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from grove.codec.model.mdct import slope


class Spectrum(NamedTuple):
    """Bins 0 to W/2 of each frame, both parts [B, T, W/2+1], scaled by a unitary transform."""

    real: Tensor
    imaginary: Tensor


def window(window_samples: int, hop_samples: int) -> Tensor:
    """Return a window [W] whose shifted squares add up to one, so that no envelope is left."""
    rise = slope(window_samples - hop_samples)
    return torch.cat([rise, torch.ones(2 * hop_samples - window_samples), rise.flip(0)])


def cosines(window_samples: int) -> Tensor:
    """Return [W/2+1, W/2+1]: from the even half of a frame to the real parts."""
    count = torch.arange(window_samples // 2 + 1, dtype=torch.float64)
    return torch.cos(_angles(count, count, window_samples)) / math.sqrt(window_samples)


def sines(window_samples: int) -> Tensor:
    """Return [W/2-1, W/2+1]: from the odd half of a frame to the imaginary parts."""
    count = torch.arange(window_samples // 2 + 1, dtype=torch.float64)
    return -torch.sin(_angles(count[1:-1], count, window_samples)) / math.sqrt(window_samples)


def _angles(times: Tensor, bins: Tensor, window_samples: int) -> Tensor:
    # The products are exact integers: reduced before the cosine, it is exact to the last bit.
    return 2 * math.pi / window_samples * (times[:, None] * bins[None] % window_samples)


class Stft(nn.Module):
    """Analysis: pcm [B, T*N] -> spectra of the last W samples; remembers W - N of them."""

    def __init__(self, hop_samples: int, window_samples: int) -> None:
        super().__init__()
        self.hop_samples = hop_samples
        self.middle = window_samples // 2
        self.overlap = window_samples - hop_samples
        self.bins = self.middle + 1
        self.state_size = self.overlap
        self.register_buffer("window", window(window_samples, hop_samples).float(), False)
        self.register_buffer("cosines", cosines(window_samples).float(), False)
        self.register_buffer("sines", sines(window_samples).float(), False)
        self.window: Tensor
        self.cosines: Tensor
        self.sines: Tensor

    def forward(self, pcm: Tensor, state: Tensor) -> tuple[Spectrum, Tensor]:
        new = pcm.reshape(pcm.shape[0], -1, self.hop_samples)
        tail = new[:, :, self.hop_samples - self.overlap :]
        before = torch.cat([state[:, None], tail], dim=1)[:, : new.shape[1]]
        frames = torch.cat([before, new], dim=2) * self.window
        # The transform of a real frame needs half of the products: fold it at its middle.
        first, front, middle, back = torch.split(
            frames, [1, self.middle - 1, 1, self.middle - 1], dim=2
        )
        back = back.flip(2)
        real = torch.matmul(torch.cat([first, front + back, middle], dim=2), self.cosines)
        return Spectrum(real, torch.matmul(front - back, self.sines)), tail[:, -1]


class InverseStft(nn.Module):
    """Synthesis: spectra -> pcm [B, T*N], late by the overlap of W - N samples."""

    def __init__(self, hop_samples: int, window_samples: int) -> None:
        super().__init__()
        self.middle = window_samples // 2
        self.overlap = window_samples - hop_samples
        self.bins = self.middle + 1
        self.flat = hop_samples - self.overlap
        self.state_size = self.overlap
        self.delay_samples = self.overlap
        # Every bin but the outer two stands for its mirror image as well.
        twice = torch.full((self.bins, 1), 2.0, dtype=torch.float64)
        twice[0], twice[-1] = 1.0, 1.0
        self.register_buffer("window", window(window_samples, hop_samples).float(), False)
        self.register_buffer("cosines", (twice * cosines(window_samples).T).float(), False)
        self.register_buffer("sines", (twice * sines(window_samples).T).float(), False)
        self.window: Tensor
        self.cosines: Tensor
        self.sines: Tensor

    def forward(self, spectrum: Spectrum, state: Tensor) -> tuple[Tensor, Tensor]:
        even = torch.matmul(spectrum.real, self.cosines)
        odd = torch.matmul(spectrum.imaginary, self.sines)
        first, inner, middle = torch.split(even, [1, self.middle - 1, 1], dim=2)
        frames = torch.cat([first, inner + odd, middle, (inner - odd).flip(2)], dim=2)
        rising, flat, falling = torch.split(
            frames * self.window, [self.overlap, self.flat, self.overlap], dim=2
        )
        kept = torch.cat([state[:, None], falling], dim=1)
        overlapped = rising + kept[:, : falling.shape[1]]
        pcm = torch.cat([overlapped, flat], dim=2)
        return pcm.reshape(pcm.shape[0], -1), kept[:, -1]
