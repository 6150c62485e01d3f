"""The codec in torch: the exact one's codes and sound, and what transformers asks of a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel

from grove.codec.arrays import F32
from grove.codec.auto.arrays import ShapeError
from grove.codec.auto.model import AutoCodec
from grove.codec.bundle import load_bundle
from grove.codec.config import GrvqConfig, SubframeConfig
from grove.codec.errors import BundleError
from grove.codec.pretrained import GroveConfig, GroveFeatureExtractor, GroveModel
from grove.codec.pretrained.weights import codec_of
from grove.codec.runtime import Codec


@pytest.fixture(scope="module")
def model() -> GroveModel:
    return GroveModel.from_pretrained("grove-24k")


@pytest.fixture(scope="module")
def exact(codec: Codec) -> AutoCodec:
    return AutoCodec(codec)


@pytest.fixture(scope="module")
def batch(clips: list[F32]) -> tuple[torch.Tensor, torch.Tensor]:
    """Two clips [2, 1, N], the second shorter, and behind it what is not silence."""
    audio = torch.full((2, 1, 24_000), 0.25)
    mask = torch.zeros(2, 24_000, dtype=torch.long)
    for row, length in enumerate((24_000, 11_111)):
        audio[row, 0, :length] = torch.from_numpy(clips[row][:length])
        mask[row, :length] = 1
    return audio, mask


@torch.no_grad()
def test_codes_and_sound_are_those_of_the_exact_codec(
    model: GroveModel, exact: AutoCodec, clips: list[F32]
) -> None:
    differing = total = 0
    for clip in clips[:4]:
        audio = torch.from_numpy(clip)[None, None]
        found, wanted = model.encode(audio).audio_codes, exact.encode(audio).audio_codes
        differing, total = differing + int((found != wanted).sum()), total + wanted.numel()
        heard, meant = model.decode(wanted).audio_values, exact.decode(wanted).audio_values
        assert heard.shape == meant.shape
        assert (heard - meant).abs().max() <= 1e-4
    assert differing <= 1e-4 * total


@torch.no_grad()
def test_every_shipped_model_is_proven_in_torch() -> None:
    lm = GroveModel.from_pretrained("grove-24k-lm")
    assert lm.config.codes_per_level == [3, 1]
    assert lm.encode(torch.zeros(1, 960)).audio_codes.shape == (1, 4, 3)


@torch.no_grad()
def test_a_padded_row_gives_what_it_gives_alone(
    model: GroveModel, exact: AutoCodec, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    audio, mask = batch
    coded, wanted = model.encode(audio, mask), exact.encode(audio, padding_mask=mask)
    assert torch.equal(coded.audio_codes_mask, wanted.audio_codes_mask)
    own = wanted.audio_codes_mask[:, None].expand_as(wanted.audio_codes)
    assert torch.equal(coded.audio_codes[own], wanted.audio_codes[own])
    moved = torch.cat([audio[1:, :, 11_111:], audio[1:, :, :11_111]], dim=2)
    left = model.encode(moved, mask[1:].flip(1)).audio_codes
    assert torch.equal(left[0], coded.audio_codes[1][:, coded.audio_codes_mask[1]])
    heard = model(audio, mask).audio_values
    assert heard.shape == audio.shape
    assert (heard[1, 0, 11_111:] == 0).all()
    assert heard[1, 0, 10_000:11_111].abs().max() > 0


@torch.no_grad()
def test_a_saved_folder_loads_by_itself_and_by_transformers_auto_classes(
    model: GroveModel, batch: tuple[torch.Tensor, torch.Tensor], tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    GroveFeatureExtractor(sampling_rate=24_000).save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    assert isinstance(AutoConfig.from_pretrained(tmp_path), GroveConfig)
    assert isinstance(AutoFeatureExtractor.from_pretrained(tmp_path), GroveFeatureExtractor)
    wanted = model(*batch)
    for kept in (AutoModel.from_pretrained(tmp_path), GroveModel.from_pretrained(tmp_path)):
        assert isinstance(kept, GroveModel)
        assert kept.config.model_sha256 == load_bundle().spec.model_sha256
        assert torch.equal(kept(*batch).audio_codes, wanted.audio_codes)
        assert torch.equal(kept(*batch).audio_values, wanted.audio_values)


@torch.no_grad()
def test_in_bfloat16_the_quantizer_stays_exact(
    model: GroveModel, batch: tuple[torch.Tensor, torch.Tensor], tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    loaded = GroveModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    cast = GroveModel.from_pretrained("grove-24k", dtype="bfloat16")
    for rough in (loaded, cast):
        assert rough.dtype == torch.bfloat16
        kinds = {str(value.dtype) for value in rough.codec.quantizer.state_dict().values()}
        assert kinds == {"torch.float32"}
        made = rough(*batch)
        assert made.audio_values.dtype == torch.bfloat16
        assert made.audio_values.isfinite().all()
    codes = model.encode(*batch).audio_codes
    assert torch.equal(loaded.decode(codes)[0], cast.decode(codes)[0])
    near = loaded.decode(codes)[0].float() - model.decode(codes)[0]
    assert near.square().mean() < 0.05 * model.decode(codes)[0].square().mean()


def test_gradients_reach_decoder_latent_and_encoder(
    model: GroveModel, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    audio = batch[0][:, :, :4_800].clone().requires_grad_()
    model.zero_grad()
    coded = model.encode(audio)
    latent = coded.quantized_representation
    latent.retain_grad()
    model.decode(quantized_representation=latent).audio_values.square().mean().backward()
    for reached in (latent, audio, model.codec.decoder.head.low.residual.weight):
        assert reached.grad.abs().max() > 0
    assert model.codec.encoder.enter.weight.grad.abs().max() > 0
    model.zero_grad()
    model.decode(coded.audio_codes).audio_values.square().mean().backward()
    assert model.codec.decoder.enter.linear.weight.grad.abs().max() > 0
    model.zero_grad()


@torch.no_grad()
def test_the_latent_decodes_to_what_its_codes_decode_to(
    model: GroveModel, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    for books in (2, 7, 12):
        coded = model.encode(batch[0], num_quantizers=books)
        assert coded.audio_codes.shape == (2, books, 51)
        by_codes = model.decode(coded.audio_codes).audio_values
        latent = coded.quantized_representation
        by_latent = model.decode(None, None, latent, books).audio_values
        assert torch.equal(by_codes, by_latent)
        codes, sound, *_ = model(batch[0], num_quantizers=books, return_dict=False)
        assert torch.equal(codes, coded.audio_codes)
        assert torch.equal(sound, by_codes[..., :24_000])


@torch.no_grad()
def test_it_compiles_without_a_break(model: GroveModel) -> None:
    codes = model.encode(torch.randn(1, 4_800) * 0.1).audio_codes
    compiled = torch.compile(model.decode, backend="eager", fullgraph=True)
    assert torch.equal(compiled(codes).audio_values, model.decode(codes).audio_values)


def test_a_wrong_architecture_is_found_out() -> None:
    right = codec_of(load_bundle()).config
    short = right.decoder.model_copy(update={"blocks": right.decoder.blocks - 1})
    assert isinstance(right.head, SubframeConfig)
    low = right.head.low.model_copy(update={"companding": 0.7})
    head = right.head.model_copy(update={"low": low})
    for wrong in ({"head": head}, {"decoder": short}):
        with pytest.raises(BundleError, match="the sound is off by"):
            codec_of(load_bundle(), right.model_copy(update=wrong))
    for unlike in ({"quantizer": GrvqConfig(adaptive=False)}, {"latent": 96}):
        with pytest.raises(BundleError, match="has the shape"):
            codec_of(load_bundle(), right.model_copy(update=unlike))


def test_what_cannot_be_meant_is_refused(model: GroveModel) -> None:
    audio = torch.zeros(1, 1, 960)
    with pytest.raises(ShapeError, match="got 13 books, expected 1 to 12"):
        model.encode(audio, num_quantizers=13)
    with pytest.raises(ShapeError, match=r"the shape \(1, 2, 960\)"):
        model.encode(torch.zeros(1, 2, 960))
    with pytest.raises(ShapeError, match="no tensor of floats"):
        model.encode(torch.zeros(1, 960, dtype=torch.int16))
    with pytest.raises(ShapeError, match="expected audio_codes or quantized"):
        model.decode()
    with pytest.raises(TypeError, match="a bundle takes dtype and device_map, not revision"):
        GroveModel.from_pretrained("grove-24k", revision="main")


def test_the_extractor_is_transformers_own() -> None:
    made = GroveFeatureExtractor()([np.ones(3, np.float32), np.ones(5, np.float32)], True)
    assert np.asarray(made["input_values"]).shape == (2, 1, 5)
