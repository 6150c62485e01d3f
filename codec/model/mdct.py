"""The MDCT with a low-overlap window, as folds and one constant matrix, causal and streaming."""

import math

import torch
from torch import Tensor, nn

from grove.codec.config import MdctConfig

# Brings companded speech near unit variance.
_COMPANDED_GAIN = 3.0
# Below -80 dB the law is linear: a root there would blow rounding up until codes flip.
_FLOOR = 1e-4


def slope(overlap_samples: int) -> Tensor:
    """Return the rising half of the power-complementary window [V]; flipped, it falls."""
    ramp = (torch.arange(overlap_samples, dtype=torch.float64) + 0.5) / overlap_samples
    return torch.sin(math.pi / 2 * torch.sin(math.pi / 2 * ramp) ** 2)


def cosine_matrix(hop_samples: int) -> Tensor:
    """Return the orthonormal DCT-IV [N, N], its rows in time order of the folded block."""
    n = hop_samples
    odd = 2 * torch.arange(n, dtype=torch.float64) + 1
    # The products are exact integers: reduced before the cosine, it is exact to the last bit.
    angle = (odd.flip(0)[:, None] * odd[None, :]) % (8 * n)
    return -math.sqrt(2 / n) * torch.cos(math.pi / (4 * n) * angle)


class Companding(nn.Module):
    """Signed power law that brings loud and quiet coefficients to one scale, and its inverse."""

    def __init__(self, exponent: float) -> None:
        super().__init__()
        self.exponent = exponent

    def compress(self, coefficients: Tensor) -> Tensor:
        magnitude = coefficients.abs() + _FLOOR
        if self.exponent == 0.5:
            # Square root and division round the same everywhere; a power function does not.
            return _COMPANDED_GAIN * coefficients / magnitude.sqrt()
        return _COMPANDED_GAIN * coefficients * magnitude.pow(self.exponent - 1)

    def expand(self, companded: Tensor) -> Tensor:
        x = companded / _COMPANDED_GAIN
        if self.exponent == 0.5:
            return x * (x.abs() + (x.square() + 4 * _FLOOR).sqrt()) / 2
        return x * (x.abs() + _FLOOR).pow(1 / self.exponent - 1)


class Mdct(nn.Module):
    """Analysis: pcm [B, T*N] -> coefficients [B, T, N]; remembers the last `overlap` samples."""

    def __init__(self, hop_samples: int, config: MdctConfig) -> None:
        super().__init__()
        self.hop_samples = hop_samples
        self.overlap = config.overlap_samples
        self.state_size = self.overlap
        self.register_buffer("rise", slope(self.overlap).float(), persistent=False)
        self.register_buffer("matrix", cosine_matrix(hop_samples).float(), persistent=False)
        self.rise: Tensor
        self.matrix: Tensor

    def forward(self, pcm: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        frames = pcm.reshape(pcm.shape[0], -1, self.hop_samples)
        tail = frames[:, :, self.hop_samples - self.overlap :]
        before = torch.cat([state[:, None], tail], dim=1)[:, : frames.shape[1]]
        return self.blocks(before, frames), tail[:, -1]

    def blocks(self, before: Tensor, frames: Tensor) -> Tensor:
        """Return coefficients [B, T, N] of frames [B, T, N], each after `before` [B, T, V]."""
        half = self.overlap // 2
        flat, tail = torch.split(frames, [self.hop_samples - self.overlap, self.overlap], dim=2)
        rising = before * self.rise
        falling = tail * self.rise.flip(0)
        head = rising[:, :, half:] - rising[:, :, :half].flip(2)
        foot = falling[:, :, :half] + falling[:, :, half:].flip(2)
        folded = torch.cat([head, flat, foot], dim=2)
        return torch.matmul(folded, self.matrix)


class InverseMdct(nn.Module):
    """Synthesis: the lowest coefficients [B, T, K] -> pcm [B, T*N], late by `overlap` samples."""

    def __init__(self, hop_samples: int, config: MdctConfig, kept: int | None = None) -> None:
        super().__init__()
        self.hop_samples = hop_samples
        self.overlap = config.overlap_samples
        self.state_size = self.overlap
        self.delay_samples = self.overlap
        matrix = cosine_matrix(hop_samples).T[:kept].contiguous()
        self.register_buffer("rise", slope(self.overlap).float(), persistent=False)
        self.register_buffer("matrix", matrix.float(), persistent=False)
        self.rise: Tensor
        self.matrix: Tensor

    def forward(self, coefficients: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        half = self.overlap // 2
        folded = torch.matmul(coefficients, self.matrix)
        head, flat, foot = torch.split(folded, [half, self.hop_samples - self.overlap, half], dim=2)
        rising = torch.cat([-head.flip(2), head], dim=2) * self.rise
        falling = torch.cat([foot, foot.flip(2)], dim=2) * self.rise.flip(0)
        kept = torch.cat([state[:, None], falling], dim=1)
        overlapped = rising + kept[:, : falling.shape[1]]
        pcm = torch.cat([overlapped, flat], dim=2)
        return pcm.reshape(pcm.shape[0], -1), kept[:, -1]
