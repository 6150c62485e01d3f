"""The laws that every front end, trunk and head keeps, on small codecs of each kind."""

import itertools

import pytest
import torch
from codec_variants import HOP, MDCT, MDCT_HEAD, SEANET, SUBFRAME, VARIANTS, lived_in, noise, small
from pydantic import ValidationError
from torch import Tensor

from grove.codec.config import (
    CodecConfig,
    FrontendConfig,
    HeadConfig,
    MagPhaseConfig,
    MdctFrontendConfig,
    MdctHeadConfig,
    StftConfig,
)
from grove.codec.model.codec import CodecNetwork

DELAYS = {
    "mdct": 24,
    "mdct-scattered": 24,
    "mdct-subframe": 24 + HOP // 4,
    "mdct-that-sees-subframes": 24 + HOP // 4,
    "stft-subframe-of-one": 24 + HOP,
    "mdct-full-overlap": HOP,
    "stft": HOP,
    "stft-short-window": 24,
    "seanet": 0,
    "seanet-with-trunk": 0,
    "seanet-mdct": 24,
}


@pytest.fixture(scope="module", params=VARIANTS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def codec(name: str) -> CodecNetwork:
    return lived_in(VARIANTS[name])


def encode(codec: CodecNetwork, pcm: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    if state is None:
        state = torch.zeros(len(pcm), codec.encoder.state_size)
    with torch.no_grad():
        latent, state = codec.encoder(pcm, state)
        return latent, state


def decode(
    codec: CodecNetwork, latent: Tensor, levels: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    if state is None:
        state = torch.zeros(len(latent), codec.decoder.state_size)
    with torch.no_grad():
        pcm, state = codec.decoder(latent, levels, state)
        return pcm, state


def every_level(codec: CodecNetwork, latent: Tensor) -> Tensor:
    return torch.randint(
        codec.quantizer.levels + 1, latent.shape[:2], generator=torch.Generator().manual_seed(3)
    )


@pytest.mark.parametrize("chunks", [(1,) * 20, (1, 2, 7, 10), (19, 1), (5, 1, 1, 13)])
def test_any_chunking_gives_the_whole_pass(codec: CodecNetwork, chunks: tuple[int, ...]) -> None:
    pcm = noise(1, batch=2, samples=20 * HOP)
    whole, whole_state = encode(codec, pcm)
    levels = every_level(codec, whole)
    sound, sound_state = decode(codec, whole, levels)
    encoder_state = torch.zeros(2, codec.encoder.state_size)
    decoder_state = torch.zeros(2, codec.decoder.state_size)
    latents, sounds = [], []
    for end in itertools.accumulate(chunks):
        start = sum(part.shape[1] for part in latents)
        latent, encoder_state = encode(codec, pcm[:, start * HOP : end * HOP], encoder_state)
        latents.append(latent)
        part = whole[:, start:end]
        heard, decoder_state = decode(codec, part, levels[:, start:end], decoder_state)
        sounds.append(heard)
    assert torch.allclose(torch.cat(latents, dim=1), whole, atol=1e-5)
    assert torch.allclose(torch.cat(sounds, dim=1), sound, atol=1e-5)
    assert torch.allclose(encoder_state, whole_state, atol=1e-5)
    assert torch.allclose(decoder_state, sound_state, atol=1e-5)


def test_batch_mates_do_not_mix(codec: CodecNetwork) -> None:
    pcm = noise(2, batch=3, samples=6 * HOP)
    together, _ = encode(codec, pcm)
    alone = torch.cat([encode(codec, row[None])[0] for row in pcm])
    assert torch.allclose(together, alone, atol=1e-5)
    levels = every_level(codec, together)
    heard, _ = decode(codec, together, levels)
    rows = [decode(codec, together[i : i + 1], levels[i : i + 1])[0] for i in range(3)]
    assert torch.allclose(heard, torch.cat(rows), atol=1e-5)


def test_nothing_depends_on_later_frames(codec: CodecNetwork) -> None:
    now = 6
    pcm = noise(3, batch=1, samples=12 * HOP)
    other = pcm.clone()
    other[:, now * HOP :] = 5 * noise(4, batch=1, samples=6 * HOP)
    levels = torch.full((1, 12), codec.quantizer.levels)
    latents = [encode(codec, x)[0] for x in (pcm, other)]
    assert torch.equal(latents[0][:, :now], latents[1][:, :now])
    heard = [decode(codec, latent, levels)[0] for latent in latents]
    assert torch.equal(heard[0][:, : now * HOP], heard[1][:, : now * HOP])
    assert not torch.allclose(heard[0][:, now * HOP :], heard[1][:, now * HOP :], atol=1e-4)


def test_latency_is_the_hop_and_the_declared_delay(codec: CodecNetwork, name: str) -> None:
    frames = 6
    pcm = noise(5, batch=1, samples=frames * HOP).requires_grad_()
    out = codec(pcm).pcm[0]
    select = torch.eye(len(out))[2 * HOP : 4 * HOP]
    (gradient,) = torch.autograd.grad(out, pcm, select, is_grads_batched=True)
    used = gradient[:, 0] != 0
    latest = torch.tensor([int(row.nonzero().max()) for row in used])
    assert codec.delay_samples == DELAYS[name]
    # Output n, aligned with input n, can be played once its latest input has arrived.
    waits = latest + 1 - torch.arange(2 * HOP, 4 * HOP)
    assert int(waits.max()) == HOP + codec.delay_samples


@pytest.mark.parametrize("samples", [1, HOP - 1, HOP, HOP + 1, 5 * HOP + 17])
def test_output_has_exactly_the_samples_of_the_input(codec: CodecNetwork, samples: int) -> None:
    output = codec(noise(6, batch=2, samples=samples))
    assert output.pcm.shape == (2, samples)
    frames = -(-(samples + codec.delay_samples) // HOP)
    assert output.codes.shape == (2, frames, len(codec.quantizer.code_sizes))


def test_forward_is_encode_then_decode_less_the_delay(codec: CodecNetwork) -> None:
    pcm = noise(7, batch=2, samples=7 * HOP + 5)
    with torch.no_grad():
        output = codec(pcm)
    latent, _ = encode(codec, codec.pad(pcm))
    codes = codec.quantizer.encode(latent)
    assert torch.equal(codes, output.codes)
    levels = torch.full(codes.shape[:2], codec.quantizer.levels)
    heard, _ = decode(codec, codec.quantizer.decode(codes, levels), levels)
    late = heard[:, codec.delay_samples :]
    assert torch.allclose(late[:, : pcm.shape[1]], output.pcm, atol=1e-6)


def test_every_parameter_gets_a_gradient(codec: CodecNetwork) -> None:
    codec.zero_grad()
    levels = torch.arange(12).reshape(1, 12) % (codec.quantizer.levels + 1)
    samples = 12 * HOP - codec.delay_samples
    output = codec(noise(8, batch=1, samples=samples), levels)
    (output.pcm.square().sum() + output.loss).backward()
    idle = [
        key
        for key, parameter in codec.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    codec.zero_grad()
    assert not idle


def test_a_frame_of_zero_levels_is_decoded_without_its_codes(codec: CodecNetwork) -> None:
    generator = torch.Generator().manual_seed(9)
    codes = torch.randint(16, (1, 8, 6), generator=generator)
    other = codes.clone()
    other[:, 3:5] = (codes[:, 3:5] + 1) % 16
    lost = torch.full((1, 8), codec.quantizer.levels)
    lost[:, 3:5] = 0
    heard = [decode(codec, codec.quantizer.decode(c, lost), lost)[0] for c in (codes, other)]
    assert torch.equal(heard[0], heard[1])
    assert heard[0].isfinite().all()
    there = torch.full((1, 8), codec.quantizer.levels)
    kept = [decode(codec, codec.quantizer.decode(c, there), there)[0] for c in (codes, other)]
    assert not torch.allclose(kept[0], kept[1], atol=1e-6)


def test_the_decoder_hears_how_many_levels_came(codec: CodecNetwork) -> None:
    latent, _ = encode(codec, noise(10, batch=1, samples=5 * HOP))
    heard = [
        decode(codec, latent, torch.full((1, 5), level))[0]
        for level in range(codec.quantizer.levels + 1)
    ]
    for one, two in itertools.combinations(heard, 2):
        assert not torch.allclose(one, two, atol=1e-6)


@pytest.mark.parametrize("quarter", range(4))
def test_short_transforms_show_in_which_quarter_of_a_frame_a_click_lies(quarter: int) -> None:
    frontend = CodecNetwork(VARIANTS["mdct-that-sees-subframes"]).encoder.frontend
    short = HOP // 4
    pcm = torch.zeros(1, 2 * HOP)
    pcm[0, HOP + quarter * short + short // 2] = 0.5
    features = frontend(pcm, torch.zeros(1, frontend.state_size))
    rows = features.network[0, 1, 2 * HOP :].reshape(4, short).mean(1)
    quiet = [n for n in range(4) if n not in (quarter, quarter + 1)]
    # The window of a transform covers the quarter before its own as well.
    assert all(float(rows[quarter]) > 3 * float(rows[n]) for n in quiet)
    assert torch.equal(features.shape, features.network[..., HOP:])


@pytest.mark.parametrize(
    "kind", ["mdct", "mdct-that-sees-subframes", "mdct-full-overlap", "stft", "stft-short-window"]
)
def test_the_zero_state_of_a_transform_is_silence_before_the_start(kind: str) -> None:
    frontend = CodecNetwork(VARIANTS[kind]).encoder.frontend
    pcm = noise(11, batch=1, samples=4 * HOP)
    after_silence = torch.nn.functional.pad(pcm, (2 * HOP, 0))
    features = [
        frontend(x, torch.zeros(1, frontend.state_size)).network for x in (pcm, after_silence)
    ]
    assert torch.allclose(features[0], features[1][:, 2:], atol=1e-5)


def test_a_fresh_mdct_codec_is_the_linear_one_exactly() -> None:
    torch.manual_seed(0)
    codec = CodecNetwork(VARIANTS["mdct"]).eval()
    pcm = noise(12, batch=2, samples=6 * HOP)
    latent, _ = encode(codec, pcm)
    frontend, head, project = codec.encoder.frontend, codec.decoder.head, codec.encoder.linear
    assert project is not None
    features = frontend(pcm, torch.zeros(2, frontend.state_size))
    assert torch.equal(latent, project(features.linear))
    heard, _ = decode(codec, latent, every_level(codec, latent))
    coefficients = head.companding.expand(head.linear(latent))
    expected, _ = head.inverse(coefficients, torch.zeros(2, head.state_size))
    assert torch.equal(heard, expected)


def test_a_linear_path_as_wide_as_the_hop_gives_the_input_back_after_the_delay() -> None:
    config = small(MDCT, MDCT_HEAD).model_copy(update={"latent": HOP})
    codec = CodecNetwork(config).eval()
    assert codec.encoder.linear is not None
    with torch.no_grad():
        codec.encoder.linear.weight.copy_(torch.eye(HOP))
        codec.decoder.head.linear.weight.copy_(torch.eye(HOP))
    impulse = torch.zeros(1, 8 * HOP)
    impulse[0, 3 * HOP + 7] = 1
    latent, _ = encode(codec, impulse)
    heard, _ = decode(codec, latent, every_level(codec, latent))
    assert int(heard[0].abs().argmax()) == 3 * HOP + 7 + codec.delay_samples
    shifted = impulse.roll(codec.delay_samples)
    assert torch.allclose(heard, shifted, atol=1e-3)


REFUSED: list[tuple[FrontendConfig, HeadConfig, str]] = [
    (MdctFrontendConfig(overlap_samples=HOP + 2), MDCT_HEAD, "overlap by 50 samples"),
    (
        MdctFrontendConfig(overlap_samples=24, subframes=5),
        MDCT_HEAD,
        "5 subframes of an even length",
    ),
    (MDCT, MdctHeadConfig(overlap_samples=240), "overlap by 240 samples"),
    (StftConfig(window_samples=HOP), MDCT_HEAD, "longer than the hop"),
    (StftConfig(window_samples=2 * HOP + 2), MDCT_HEAD, "at most twice"),
    (MDCT, MagPhaseConfig(window_samples=960), "at most twice"),
    (MDCT, SUBFRAME.model_copy(update={"subframes": 5}), "do not make a hop of 48"),
    (SEANET.model_copy(update={"strides": (2, 4)}), MDCT_HEAD, "multiply to 8, the hop is 48"),
]


@pytest.mark.parametrize(("frontend", "head", "message"), REFUSED)
def test_parts_that_do_not_fit_the_hop_are_refused(
    frontend: FrontendConfig, head: HeadConfig, message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        small(frontend, head)


def test_every_pair_of_front_end_and_head_makes_sound() -> None:
    frontends: list[FrontendConfig] = [MDCT, StftConfig(window_samples=72), SEANET]
    heads: list[HeadConfig] = [MDCT_HEAD, MagPhaseConfig(window_samples=72), SUBFRAME, SEANET]
    for frontend, head in itertools.product(frontends, heads):
        codec = CodecNetwork(small(frontend, head)).eval()
        latent, _ = encode(codec, noise(13, batch=1, samples=5 * HOP))
        heard, _ = decode(codec, latent, every_level(codec, latent))
        assert heard.shape == (1, 5 * HOP)
        assert heard.isfinite().all()
        assert heard.std() > 0


def test_the_default_codec_remembers_so_much() -> None:
    codec = CodecNetwork(CodecConfig())
    blocks = 6 * 6 * 256
    assert codec.encoder.state_size == 240 + blocks
    assert codec.decoder.state_size == 128 + blocks + 240 + 15
    assert codec.delay_samples == 240
