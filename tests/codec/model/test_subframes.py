"""A decoder with noise of its own: what is chance, what is not, and what each part may see."""

import pytest
import torch
from codec_variants import HOP, MDCT, SUBFRAME, VARIANTS, lived_in, noise, small
from pydantic import ValidationError
from torch import Tensor

from grove.codec.config import CodecConfig, StftConfig, SubframeConfig, TrunkConfig
from grove.codec.model.codec import CodecNetwork
from grove.codec.model.cost import count_cost
from grove.codec.model.subframes import SubframeHead

FRAMES = 20


@pytest.fixture(scope="module")
def codec() -> CodecNetwork:
    return lived_in(VARIANTS["mdct-subframe"])


def head_of(codec: CodecNetwork) -> SubframeHead:
    head = codec.decoder.head
    assert isinstance(head, SubframeHead)
    return head


def rows(codec: CodecNetwork, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return hidden rows and latents of a sound."""
    pcm = noise(seed, 1, FRAMES * HOP)
    latent, _ = codec.encoder(pcm, torch.zeros(1, codec.encoder.state_size))
    decoder = codec.decoder
    hidden, _ = decoder.enter(latent, torch.zeros(1, decoder.enter.state_size))
    hidden, _ = decoder.trunk(hidden, torch.zeros(1, decoder.trunk.state_size))
    return hidden, latent


@torch.no_grad()
def test_twins_share_all_but_their_chance(codec: CodecNetwork) -> None:
    head = head_of(codec)
    torch.manual_seed(0)
    one, other, parts = head.twins(*rows(codec))
    assert parts is not None
    assert not torch.allclose(one, other, atol=1e-4)
    middle = (one + other) / 2
    quiet, _ = head.sound(
        parts, torch.zeros_like(parts.chance), torch.zeros(1, head.inverse.state_size)
    )
    # Each draw is as far from what is certain as chance is large.
    spread = [(sound - quiet).square().mean().sqrt() for sound in (one, other)]
    assert float(spread[0]) == pytest.approx(float(spread[1]), rel=0.15)
    assert float((middle - quiet).square().mean().sqrt()) < float(spread[0])


@torch.no_grad()
def test_the_first_twin_is_what_a_stream_decodes(codec: CodecNetwork) -> None:
    hidden, latent = rows(codec)
    head = head_of(codec)
    streamed, _ = head(hidden, latent, torch.zeros(1, head.state_size))
    assert torch.allclose(head.twins(hidden, latent).pcm, streamed, atol=1e-6)


@torch.no_grad()
def test_without_chance_nothing_is_drawn(codec: CodecNetwork) -> None:
    head = head_of(codec)
    parts, _ = head.parts(*rows(codec), torch.zeros(1, head.state_size))
    sure = parts._replace(chance=torch.zeros_like(parts.chance))
    silent = torch.zeros(1, head.inverse.state_size)
    ones = torch.ones_like(parts.chance)
    assert torch.equal(head.sound(sure, ones, silent)[0], head.sound(sure, -ones, silent)[0])


def test_training_hears_two_draws_and_evaluation_one(codec: CodecNetwork) -> None:
    pcm = noise(1, 2, 6 * HOP)
    evaluated = codec(pcm)
    assert torch.equal(evaluated.pcm, evaluated.twin)
    assert evaluated.parts is None
    fresh = CodecNetwork(VARIANTS["mdct-subframe"]).train()
    trained = fresh(pcm)
    assert trained.parts is not None
    assert not torch.equal(trained.pcm, trained.twin)


def test_a_head_without_chance_is_its_own_twin() -> None:
    output = CodecNetwork(VARIANTS["mdct"]).train()(noise(2, 1, 4 * HOP))
    assert output.twin is output.pcm or torch.equal(output.twin, output.pcm)
    assert output.parts is None


def test_channels_for_the_shape_carry_no_waveform() -> None:
    config = small(MDCT, SUBFRAME).model_copy(update={"shape": 6})
    encoder = CodecNetwork(config).eval().encoder
    pcm = noise(3, 1, 8 * HOP)
    state = torch.zeros(1, encoder.state_size)
    with torch.no_grad():
        upright, flipped = encoder(pcm, state)[0], encoder(-pcm, state)[0]
    # Before training the network is silent: magnitudes do not hear a sign, the waveform is it.
    assert torch.allclose(upright[..., :6], flipped[..., :6], atol=1e-6)
    assert torch.allclose(upright[..., 6:], -flipped[..., 6:], atol=1e-6)


def test_channels_for_the_shape_need_magnitudes_and_leave_some_over() -> None:
    with pytest.raises(ValidationError, match="need the front end 'mdct'"):
        CodecConfig(shape=8, frontend=StftConfig())
    with pytest.raises(ValidationError, match="none is left"):
        CodecConfig(latent=16, shape=16)


def test_subframes_divide_the_hop() -> None:
    with pytest.raises(ValidationError, match="7 subframes of an even length"):
        CodecConfig(head=SubframeConfig(subframes=7))


def test_the_default_decoder_keeps_its_budget() -> None:
    """At most 350 MMAC a second in all, 200 of them to receive."""
    config = CodecConfig(shape=64, decoder=TrunkConfig(blocks=3), head=SubframeConfig())
    cost = count_cost(CodecNetwork(config).eval())
    assert cost.decoder_macs_per_second < 200e6
    assert cost.encoder_macs_per_second + cost.decoder_macs_per_second < 350e6
