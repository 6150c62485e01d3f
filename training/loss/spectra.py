"""Power spectra of windowed signals, with a backward pass that stays in real transforms.

What torch derives for its own STFT runs a full complex transform and gathers by index: on a CPU
that was a third of a training step.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

_OVERLAP = 4


class Spectra(NamedTuple):
    """Of signals [B, N] in windows a quarter of their length apart, none beyond the ends."""

    power: Tensor  # [B, T, bins]
    low: Tensor  # the lowest bins as real and imaginary part [B, T, low, 2]


def spectra(signal: Tensor, window: Tensor, low_bins: int) -> Spectra:
    """Return the spectra of signal [B, N] through window [n]."""
    return Spectra(*_Spectra.apply(signal, window, low_bins))  # type: ignore[no-untyped-call]


class _Spectra(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's own
        signal: Tensor,
        window: Tensor,
        low_bins: int,
    ) -> tuple[Tensor, Tensor]:
        frames = signal.unfold(1, len(window), len(window) // _OVERLAP) * window
        spectrum = torch.fft.rfft(frames)
        ctx.save_for_backward(spectrum, window)
        ctx.samples = signal.shape[1]
        low = torch.view_as_real(spectrum[..., :low_bins].contiguous())
        return spectrum.real.square() + spectrum.imag.square(), low

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        spectrum, window = ctx.saved_tensors
        of_power, of_low = gradients
        n = len(window)
        found = spectrum * (2 * of_power)
        found[..., : of_low.shape[2]] += torch.view_as_complex(of_low.contiguous())
        # The inverse transform divides by n and counts all but the outermost bins twice.
        found[..., 1:-1] *= 0.5
        frames = torch.fft.irfft(found, n, norm="forward") * window
        return _overlap_add(frames, ctx.samples), None, None


def _overlap_add(frames: Tensor, samples: int) -> Tensor:
    """Return [B, samples] from frames [B, T, n] a quarter of their length apart."""
    batch, count, n = frames.shape
    hop = n // _OVERLAP
    rows = frames.new_zeros(batch, count + _OVERLAP - 1, hop)
    for part in range(_OVERLAP):
        rows[:, part : part + count] += frames[..., part * hop : (part + 1) * hop]
    signal = frames.new_zeros(batch, samples)
    signal[:, : rows.shape[1] * hop] = rows.reshape(batch, -1)
    return signal
