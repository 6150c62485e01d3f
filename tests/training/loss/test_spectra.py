"""Spectra as torch has them, and their gradient as calculus has it."""

import pytest
import torch

from grove.training.loss.spectra import spectra


@pytest.mark.parametrize("samples", [512, 700])
def test_powers_and_low_bins_are_those_of_torch(samples: int) -> None:
    signal = torch.randn(2, samples, generator=torch.Generator().manual_seed(0))
    window = torch.hann_window(128)
    found = spectra(signal, window, 7)
    expected = torch.stft(
        signal, 128, 32, window=window, center=False, return_complex=True
    ).transpose(1, 2)
    assert torch.allclose(found.power, expected.abs().square(), atol=1e-4)
    assert torch.allclose(found.low, torch.view_as_real(expected[..., :7]), atol=1e-4)


def test_the_gradient_is_that_of_finite_differences() -> None:
    signal = torch.randn(2, 90, dtype=torch.float64).requires_grad_()
    window = torch.hann_window(16, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: tuple(spectra(x, window, 3)), (signal,))
