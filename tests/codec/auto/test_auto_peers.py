"""What scripts for EnCodec, Mimi and DAC call, as their documentation shows it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from grove.codec.arrays import F32
from grove.codec.auto.model import AutoCodec, UnsupportedError
from grove.codec.auto.peers import DacModel, EncodecModel, MimiModel
from grove.codec.runtime import Codec


@pytest.fixture(scope="module")
def audio(clips: list[F32]) -> torch.Tensor:
    return torch.from_numpy(np.stack([clips[0][:9_000], clips[1][:9_000]])[:, None])


def test_encodec_forward_and_its_outputs_go_back_in(codec: Codec, audio: torch.Tensor) -> None:
    model = EncodecModel(codec)
    mask = torch.ones(2, 9_000, dtype=torch.bool)
    inputs = {"input_values": audio, "padding_mask": mask}
    whole = model(audio, mask)
    assert torch.equal(model(**inputs).audio_values, whole.audio_values)
    coded = model.encode(audio, mask)
    assert torch.equal(coded.audio_codes, whole.audio_codes)
    assert torch.equal(model.decode(**coded, padding_mask=mask)[0], whole.audio_values)
    assert model(audio, mask, bandwidth=2.0).audio_codes.shape == (1, 2, 4, 20)
    codes, sound = model(audio, mask, return_dict=False)
    assert torch.equal(codes, whole.audio_codes)
    assert torch.equal(model(audio, mask, audio_codes=codes).audio_values, sound)
    assert model(audio[0]).audio_codes.shape[1] == 1  # [1, n]


def test_bfloat16_is_taken_for_what_it_holds(codec: Codec, audio: torch.Tensor) -> None:
    rough = audio.to(torch.bfloat16)
    model = EncodecModel(codec)
    assert torch.equal(model.encode(rough).audio_codes, model.encode(rough.float()).audio_codes)


def test_mimi_forward_codes_tuples_and_masks(codec: Codec, audio: torch.Tensor) -> None:
    model = MimiModel(codec)
    coded = model.encode(audio, num_quantizers=4)
    (codes,) = model.encode(audio, num_quantizers=4, return_dict=False)
    assert torch.equal(codes, coded.audio_codes)
    whole = model(audio, num_quantizers=4)
    again = model(audio, audio_codes=whole.audio_codes)
    assert torch.equal(whole.audio_values, again.audio_values)
    assert torch.equal(model.decode(codes, return_dict=False)[0], model.decode(codes)[0])
    mask = torch.ones(2, 9_000, dtype=torch.long)
    mask[1, 4_000:] = 0
    own = model.encode(audio, mask).audio_codes_mask
    assert torch.equal(model.get_audio_codes_mask(mask), own)
    assert model.get_encoded_length(mask.sum(-1)).tolist() == own.sum(-1).tolist()


def test_dac_takes_codes(codec: Codec, audio: torch.Tensor) -> None:
    model = DacModel(codec)
    coded = model.encode(audio, n_quantizers=6)
    assert coded.audio_codes.shape == (2, 6, 20)
    assert model.decode(audio_codes=coded.audio_codes).audio_values.shape[0] == 2
    assert model(audio).audio_values.shape == audio[:, 0].shape


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c, x: DacModel(c).decode(x), "decode of quantized_representation"),
        (lambda c, x: DacModel(c).encode(x).quantized_representation, "quantized_representation"),
        (lambda c, x: DacModel(c)(x, return_dict=False), "the tuple of the model"),
        (lambda c, x: MimiModel(c).encode(x, use_streaming=True), "no cache"),
        (lambda c, x: MimiModel(c).decode(x, decoder_past_key_values=()), "no cache"),
        (lambda c, _: MimiModel(c).half(), "float32 only"),
        (lambda c, _: MimiModel(c).train(), "does not train"),
        (lambda c, _: MimiModel(c).to("cuda:0"), "device is cuda:0"),
        (lambda c, _: MimiModel(c).to(torch.bfloat16), "dtype is torch.bfloat16"),
        (lambda c, x: EncodecModel(c)(x, bandwidth=7.5), "bandwidth is 7.5"),
    ],
)
def test_what_is_not_offered_is_one_named_error(
    call: Callable[[Codec, torch.Tensor], object], message: str, codec: Codec, audio: torch.Tensor
) -> None:
    with pytest.raises(UnsupportedError, match=message):
        call(codec, audio)


def test_what_scripts_ask_of_a_module_is_answered(
    codec: Codec, audio: torch.Tensor, tmp_path: Path
) -> None:
    model = AutoCodec(codec)
    assert (model.device, model.dtype) == (torch.device("cpu"), torch.float32)
    assert model.cpu().float().eval().train(False).to(torch.float32) is model
    assert list(model.parameters()) == []
    model.save_pretrained(tmp_path / "kept")
    kept = AutoCodec.from_pretrained(tmp_path / "kept", torch_dtype="auto", device_map="cpu")
    assert torch.equal(kept.encode(audio).audio_codes, model.encode(audio).audio_codes)
    with pytest.raises(UnsupportedError, match=r"torch\.float16"):
        AutoCodec.from_pretrained(tmp_path / "kept", torch_dtype=torch.float16)
