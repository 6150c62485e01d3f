"""Strides as blocks: equal to torch's strided and transposed convolutions."""

import pytest
import torch
from codec_variants import HOP, SEANET, noise
from torch import Tensor
from torch.nn import functional as F

from grove.codec.config import SeanetConfig
from grove.codec.model.layers import StatefulLayer
from grove.codec.model.seanet import (
    Downsample,
    ResidualUnit,
    Upsample,
    seanet_decoder,
    seanet_encoder,
)

SLOPE = 0.1


def run(layer: StatefulLayer, x: Tensor) -> Tensor:
    y, state = layer(x, torch.zeros(len(x), layer.state_size))
    assert state.shape == (len(x), layer.state_size)
    return y


@pytest.mark.parametrize("stride", [2, 5])
def test_downsampling_is_a_causal_convolution_of_twice_its_stride(stride: int) -> None:
    layer = Downsample(3, 4, stride)
    x = noise(1, 2, 6 * stride * 3).reshape(2, 6 * stride, 3)
    linear = layer.convolution.linear
    kernel = linear.weight.reshape(4, 2 * stride, 3).transpose(1, 2)
    padded = F.pad(F.leaky_relu(x, SLOPE).transpose(1, 2), (stride, 0))
    expected = F.conv1d(padded, kernel, linear.bias, stride=stride).transpose(1, 2)
    assert torch.allclose(run(layer, x), expected, atol=1e-6)


@pytest.mark.parametrize("stride", [2, 5])
def test_upsampling_is_a_transposed_convolution_cut_causally(stride: int) -> None:
    layer = Upsample(3, 4, stride)
    frames = 6
    x = noise(2, 2, frames * 3).reshape(2, frames, 3)
    linear = layer.convolution.linear
    # [stride, out, past or now, in] -> [in, out, kernel]; the present makes the first half.
    weight = linear.weight.reshape(stride, 4, 2, 3)
    kernel = torch.cat([weight[:, :, 1], weight[:, :, 0]]).permute(2, 1, 0)
    inputs = F.leaky_relu(x, SLOPE).transpose(1, 2)
    full = F.conv_transpose1d(inputs, kernel, stride=stride).transpose(1, 2)
    expected = full[:, : frames * stride] + linear.bias.reshape(stride, 4).repeat(frames, 1)
    assert torch.allclose(run(layer, x), expected, atol=1e-6)


def test_a_residual_unit_adds_to_its_input() -> None:
    unit = ResidualUnit(6, dilation=2)
    assert unit.state_size == 2 * 2 * 6
    x = noise(3, 2, 60).reshape(2, 10, 6)
    with torch.no_grad():
        unit.widen.weight.zero_()
        unit.widen.bias.zero_()
    assert torch.equal(run(unit, x), x)


def test_a_fresh_encoder_lets_the_signal_through() -> None:
    torch.manual_seed(0)
    encoder = seanet_encoder(SeanetConfig(channels=8), 16)
    features = run(encoder, noise(4, 2, 10 * 480)[..., None])
    assert features.shape == (2, 10, 16)
    assert 0.02 < features.std() < 20
    assert run(encoder, torch.zeros(1, 480, 1)).eq(0).all()


def test_a_fresh_decoder_is_quiet() -> None:
    torch.manual_seed(0)
    decoder = seanet_decoder(SEANET, 16)
    pcm = run(decoder, torch.randn(2, 20, 16))
    assert pcm.shape == (2, 20 * HOP, 1)
    assert 1e-4 < pcm.std() < 0.3
