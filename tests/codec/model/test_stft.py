"""The causal STFT, its inverse, and what front end and head make of them."""

import pytest
import torch
from codec_variants import noise

from grove.codec.config import MagPhaseConfig, StftConfig
from grove.codec.model.frontends import StftFrontend, logarithm, magnitudes
from grove.codec.model.heads import MagPhaseHead
from grove.codec.model.stft import InverseStft, Spectrum, Stft, window

SHAPES = [(480, 960), (480, 720), (48, 96), (48, 50), (45, 60)]


@pytest.mark.parametrize(("hop", "length"), SHAPES)
def test_the_inverse_gives_the_samples_back_after_the_delay(hop: int, length: int) -> None:
    stft, inverse = Stft(hop, length), InverseStft(hop, length)
    pcm = noise(1, batch=2, samples=8 * hop)
    spectrum, _ = stft(pcm, torch.zeros(2, stft.state_size))
    heard, _ = inverse(spectrum, torch.zeros(2, inverse.state_size))
    late = inverse.delay_samples
    assert late == length - hop
    assert heard[:, :late].abs().max() < 2e-6
    assert torch.allclose(heard[:, late:], pcm[:, :-late], atol=2e-6)


@pytest.mark.parametrize(("hop", "length"), SHAPES)
def test_the_spectrum_is_that_of_torch(hop: int, length: int) -> None:
    stft = Stft(hop, length)
    pcm = noise(2, batch=2, samples=6 * hop)
    spectrum, _ = stft(pcm, torch.zeros(2, stft.state_size))
    padded = torch.nn.functional.pad(pcm, (length - hop, 0))
    expected = torch.stft(
        padded,
        length,
        hop,
        window=window(length, hop).float(),
        center=False,
        normalized=True,
        return_complex=True,
    ).transpose(1, 2)
    assert torch.allclose(spectrum.real, expected.real, atol=2e-6)
    assert torch.allclose(spectrum.imaginary, expected.imag, atol=2e-6)


@pytest.mark.parametrize(("hop", "length"), SHAPES)
def test_shifted_squares_of_the_window_add_up_to_one(hop: int, length: int) -> None:
    total = torch.zeros(6 * hop, dtype=torch.float64)
    for start in range(0, 5 * hop, hop):
        stop = min(start + length, len(total))
        total[start:stop] += window(length, hop)[: stop - start] ** 2
    middle = total[2 * hop : 4 * hop]
    assert torch.allclose(middle, torch.ones_like(middle), atol=1e-12)


def test_the_front_end_tells_phase_as_a_unit_vector() -> None:
    frontend = StftFrontend(48, StftConfig(window_samples=96))
    features = frontend(noise(3, 1, 10 * 48), torch.zeros(1, frontend.state_size))
    assert features.linear is None
    assert features.network.shape == (1, 10, frontend.features)
    _, cosine, sine = features.network.chunk(3, dim=2)
    assert torch.allclose(cosine.square() + sine.square(), torch.ones_like(sine), atol=1e-4)


def test_silence_has_finite_features_and_gradients() -> None:
    frontend = StftFrontend(48, StftConfig(window_samples=96))
    pcm = torch.zeros(1, 5 * 48, requires_grad=True)
    features = frontend(pcm, torch.zeros(1, frontend.state_size)).network
    features.sum().backward()
    assert features.isfinite().all()
    assert pcm.grad is not None
    assert pcm.grad.isfinite().all()


def test_the_logarithm_by_roots_is_close_to_the_logarithm() -> None:
    x = torch.logspace(-5, 2, 200)
    roots, exact = logarithm(x), x.log()
    assert roots.diff().min() > 0
    assert (roots - exact).abs().max() < exact.abs().max() ** 2 / 100
    near_one = torch.logspace(-0.5, 0.5, 50)
    assert torch.allclose(logarithm(near_one), near_one.log(), atol=0.02)


def test_the_head_keeps_magnitude_and_phase_apart() -> None:
    torch.manual_seed(0)
    head = MagPhaseHead(48, 16, MagPhaseConfig(window_samples=96))
    hidden = torch.randn(2, 7, 16)
    spectrum = head.spectrum(hidden)
    magnitude = magnitudes(spectrum)
    assert torch.allclose(magnitude, head.log_magnitude(hidden).exp(), rtol=1e-3, atol=2e-5)
    x, y = head.phase(hidden).chunk(2, dim=2)
    assert torch.allclose(spectrum.real * y, spectrum.imaginary * x, atol=1e-6)


def test_the_head_cannot_explode() -> None:
    head = MagPhaseHead(48, 16, MagPhaseConfig(window_samples=96))
    with torch.no_grad():
        head.log_magnitude.bias.fill_(1000.0)
    pcm, _ = head(torch.randn(1, 5, 16), torch.zeros(1, 5, 12), torch.zeros(1, head.state_size))
    assert pcm.isfinite().all()
    assert magnitudes(head.spectrum(torch.randn(1, 5, 16))).max() < 55


def test_the_head_reaches_full_scale() -> None:
    stft = Stft(480, 960)
    tone = torch.sin(torch.arange(10 * 480) * 0.3)[None]
    spectrum: Spectrum
    spectrum, _ = stft(tone, torch.zeros(1, stft.state_size))
    assert magnitudes(spectrum).log().max() < 4.0


def test_a_fresh_head_is_quiet() -> None:
    torch.manual_seed(0)
    head = MagPhaseHead(480, 64, MagPhaseConfig())
    hidden = torch.nn.functional.layer_norm(torch.randn(1, 20, 64), (64,))
    pcm, _ = head(hidden, hidden, torch.zeros(1, head.state_size))
    assert 1e-4 < pcm.std() < 0.1
