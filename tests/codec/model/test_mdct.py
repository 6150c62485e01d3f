"""The transform of the default codec."""

import math

import pytest
import torch
from codec_variants import noise

from grove.codec.config import MdctConfig
from grove.codec.model.mdct import Companding, InverseMdct, Mdct, cosine_matrix, slope

SHAPES = [(480, 240), (480, 480), (48, 2), (48, 24), (45, 30)]


def pair(hop: int, overlap: int) -> tuple[Mdct, InverseMdct]:
    config = MdctConfig(overlap_samples=overlap)
    return Mdct(hop, config), InverseMdct(hop, config)


@pytest.mark.parametrize(("hop", "overlap"), SHAPES)
def test_the_inverse_gives_the_samples_back_after_the_delay(hop: int, overlap: int) -> None:
    mdct, inverse = pair(hop, overlap)
    pcm = noise(1, batch=2, samples=10 * hop)
    coefficients, _ = mdct(pcm, torch.zeros(2, mdct.state_size))
    heard, _ = inverse(coefficients, torch.zeros(2, inverse.state_size))
    assert inverse.delay_samples == overlap
    assert not heard[:, :overlap].abs().gt(1e-6).any()
    assert torch.allclose(heard[:, overlap:], pcm[:, :-overlap], atol=2e-6)


@pytest.mark.parametrize("position", [960, 1111, 1439])
def test_an_impulse_comes_out_240_samples_late(position: int) -> None:
    mdct, inverse = pair(480, 240)
    impulse = torch.zeros(1, 6 * 480)
    impulse[0, position] = 1
    coefficients, _ = mdct(impulse, torch.zeros(1, mdct.state_size))
    heard, _ = inverse(coefficients, torch.zeros(1, inverse.state_size))
    assert int(heard[0].argmax()) == position + 240
    assert heard[0, position + 240] == pytest.approx(1, abs=1e-5)
    heard[0, position + 240] = 0
    assert heard.abs().max() < 1e-5


def test_coefficients_follow_the_definition() -> None:
    """X[k] = sqrt(2/N) sum_n w[n] x[n] cos(pi/N (n + 1/2 + N/2)(k + 1/2)) over 2N samples."""
    hop, overlap = 12, 8
    mdct, _ = pair(hop, overlap)
    pcm = noise(2, batch=1, samples=3 * hop)
    coefficients, _ = mdct(pcm, torch.zeros(1, mdct.state_size))
    silent = (hop - overlap) // 2
    rise = slope(overlap)
    flat = torch.ones(hop - overlap, dtype=torch.float64)
    edge = torch.zeros(silent, dtype=torch.float64)
    window = torch.cat([edge, rise, flat, rise.flip(0), edge])
    # The frame ends with its last sample inside the window, `silent` before the end of the block.
    start = 2 * hop - overlap - silent
    block = torch.nn.functional.pad(pcm[0].double(), (0, silent))[start : start + 2 * hop]
    n = torch.arange(2 * hop, dtype=torch.float64)[None]
    k = torch.arange(hop, dtype=torch.float64)[:, None]
    kernel = torch.cos(math.pi / hop * (n + 0.5 + hop / 2) * (k + 0.5))
    expected = math.sqrt(2 / hop) * kernel @ (window * block)
    assert torch.allclose(coefficients[0, 2].double(), expected, atol=1e-6)


def test_the_matrix_is_orthonormal() -> None:
    matrix = cosine_matrix(480)
    assert torch.allclose(matrix @ matrix.T, torch.eye(480, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("overlap", [2, 24, 240])
def test_the_window_keeps_power(overlap: int) -> None:
    rise = slope(overlap)
    assert torch.allclose(rise**2 + rise.flip(0) ** 2, torch.ones_like(rise), atol=1e-12)


@pytest.mark.parametrize("exponent", [0.3, 0.5, 1.0])
def test_expanding_undoes_companding(exponent: float) -> None:
    companding = Companding(exponent)
    x = torch.tensor([-30.0, -1.0, -0.01, 0.0, 0.003, 0.2, 5.0])
    y = companding.expand(companding.compress(x))
    # Exact for the square root; elsewhere the floor shows below -50 dB.
    tolerance = 1e-5 if exponent == 0.5 else 0.1
    assert torch.allclose(y, x, rtol=tolerance, atol=1e-7)
    assert companding.compress(torch.zeros(3)).eq(0).all()
