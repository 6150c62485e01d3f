"""The same calls on transformers' own models, with random weights, and on ours: alike in kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from grove.codec.auto.features import AutoFeatureExtractor, Side
from grove.codec.auto.model import UnsupportedError
from grove.codec.auto.peers import DacModel, EncodecModel, MimiModel
from grove.codec.runtime import Codec

SAMPLES = 9_600
MASK = torch.ones(2, SAMPLES, dtype=torch.bool)
AUDIO = torch.randn(2, 1, SAMPLES, generator=torch.Generator().manual_seed(1)) * 0.1


@pytest.fixture(scope="module")
def pairs(codec: Codec) -> dict[str, tuple[Any, Any]]:
    """Theirs and ours of each model."""
    torch.manual_seed(0)
    mimi = transformers.MimiConfig(
        hidden_size=32,
        num_filters=4,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=32,
        codebook_dim=16,
        codebook_size=32,
        vector_quantization_hidden_dimension=16,
        num_quantizers=8,
        upsample_groups=32,
    )
    encodec = transformers.EncodecConfig(num_filters=4, num_lstm_layers=1)
    dac = transformers.DacConfig(encoder_hidden_size=4, decoder_hidden_size=32, codebook_size=16)
    return {
        "mimi": (transformers.MimiModel(mimi).eval(), MimiModel(codec)),
        "encodec": (transformers.EncodecModel(encodec).eval(), EncodecModel(codec)),
        "dac": (transformers.DacModel(dac).eval(), DacModel(codec)),
    }


def kind_of(value: object) -> object:
    """Return what a script depends on: type, number of dimensions, rows, and names."""
    if isinstance(value, torch.Tensor):
        return ("tensor", value.dtype, value.ndim, 1 if value.ndim == 4 else value.shape[0])
    if isinstance(value, list | tuple):
        return [kind_of(item) for item in value]
    return type(value) if not isinstance(value, torch.device | torch.dtype) else value


def named(*names: str) -> Callable[[Any], Any]:
    """Look at an output by its names, which both sides must have."""
    return lambda output: [getattr(output, name) for name in names]


def same(output: object) -> object:
    return output


Call = Callable[[Any], Any]
CASES: dict[str, tuple[str, Call, Callable[[Any], Any]]] = {
    "encodec forward": (
        "encodec",
        lambda m: m(AUDIO, MASK),
        named("audio_codes", "audio_values"),
    ),
    "encodec forward of named inputs": (
        "encodec",
        lambda m: m(**{"input_values": AUDIO, "padding_mask": MASK}),
        named("audio_codes", "audio_values"),
    ),
    "encodec decode of what encode gave": (
        "encodec",
        lambda m: m.decode(**m.encode(AUDIO, MASK), padding_mask=MASK),
        named("audio_values"),
    ),
    "encodec bandwidth": (
        "encodec",
        lambda m: m.encode(AUDIO, MASK, bandwidth=6.0),
        named("audio_codes", "audio_scales", "last_frame_pad_length"),
    ),
    "encodec encode as a tuple": (
        "encodec",
        lambda m: m.encode(AUDIO, MASK, return_dict=False),
        same,
    ),
    "encodec forward as a tuple": ("encodec", lambda m: m(AUDIO, MASK, return_dict=False), same),
    "encodec forward of codes": (
        "encodec",
        lambda m: m(AUDIO, MASK, None, *m.encode(AUDIO, MASK, None, False)[:2]),
        named("audio_codes", "audio_values"),
    ),
    "mimi one book": (
        "mimi",
        lambda m: m.decode(m.encode(AUDIO, num_quantizers=1).audio_codes),
        named("audio_values", "decoder_past_key_values"),
    ),
    "mimi seven books": (
        "mimi",
        lambda m: m(AUDIO, num_quantizers=7),
        named("audio_codes", "audio_values", "encoder_past_key_values"),
    ),
    "mimi encode": (
        "mimi",
        lambda m: m.encode(AUDIO, MASK, num_quantizers=2),
        named("audio_codes", "encoder_past_key_values", "padding_cache"),
    ),
    "mimi encode as a tuple": ("mimi", lambda m: m.encode(AUDIO, return_dict=False), same),
    "mimi decode as a tuple": (
        "mimi",
        lambda m: m.decode(m.encode(AUDIO).audio_codes, return_dict=False),
        same,
    ),
    "mimi forward as a tuple": ("mimi", lambda m: m(AUDIO, return_dict=False), same),
    "mimi forward of codes": (
        "mimi",
        lambda m: m(AUDIO, audio_codes=m.encode(AUDIO).audio_codes),
        named("audio_codes", "audio_values"),
    ),
    "mimi lengths": ("mimi", lambda m: m.get_encoded_length(MASK.sum(-1)), same),
    "mimi mask": ("mimi", lambda m: m.get_audio_codes_mask(MASK), same),
    "dac encode": ("dac", lambda m: m.encode(AUDIO, n_quantizers=4), named("audio_codes")),
    "dac decode of codes": (
        "dac",
        lambda m: m.decode(audio_codes=m.encode(AUDIO).audio_codes),
        named("audio_values"),
    ),
    "dac forward": ("dac", lambda m: m(AUDIO), named("audio_codes", "audio_values")),
    "device": ("encodec", lambda m: m.device, same),
    "eval, cpu and float": ("mimi", lambda m: m.cpu().float().eval().train(False).dtype, same),
}


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_a_call_gives_the_same_kind_on_both_sides(
    case: str, pairs: dict[str, tuple[Any, Any]]
) -> None:
    model, call, view = CASES[case]
    theirs, ours = pairs[model]
    assert kind_of(view(call(ours))) == kind_of(view(call(theirs)))


@pytest.mark.parametrize("books", [1, 7])
@torch.no_grad()
def test_a_number_of_books_is_that_number_on_both_sides(
    books: int, pairs: dict[str, tuple[Any, Any]]
) -> None:
    for side in pairs["mimi"]:
        assert side.encode(AUDIO, num_quantizers=books).audio_codes.shape[1] == books


@torch.no_grad()
def test_the_sound_has_the_length_of_the_input_on_both_sides(
    pairs: dict[str, tuple[Any, Any]],
) -> None:
    for model in ("encodec", "mimi"):
        for side in pairs[model]:
            assert side(AUDIO, MASK).audio_values.shape == AUDIO.shape
    theirs, ours = pairs["dac"]
    assert theirs(AUDIO).audio_values.ndim == ours(AUDIO).audio_values.ndim == 2


UNOFFERED: dict[str, tuple[str, Call]] = {
    "mimi streams by a cache": ("mimi", lambda m: m.encode(AUDIO, use_streaming=True)),
    "dac latents": ("dac", lambda m: m.decode(m.encode(AUDIO).quantized_representation)),
    "dac losses": ("dac", lambda m: m(AUDIO).loss),
    "half precision": ("encodec", lambda m: m.half()),
    "training": ("mimi", lambda m: m.train()),
}


@pytest.mark.parametrize("case", UNOFFERED)
@torch.no_grad()
def test_what_only_they_offer_is_one_named_error_here(
    case: str, pairs: dict[str, tuple[Any, Any]]
) -> None:
    model, call = UNOFFERED[case]
    theirs, ours = pairs[model]
    with pytest.raises(UnsupportedError):
        call(ours)
    call(theirs)
    theirs.float().eval()


CLIPS = [np.linspace(0, 1, 30, dtype=np.float32), np.linspace(0, 1, 50, dtype=np.float32)]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": True},
        {"padding": "longest"},
        {"padding": "max_length", "max_length": 64},
        {"truncation": True, "max_length": 40},
    ],
    ids=str,
)
def test_the_feature_extractor_pads_and_cuts_as_theirs(side: Side, options: dict[str, Any]) -> None:
    theirs = transformers.EncodecFeatureExtractor(padding_side=side)
    ours = AutoFeatureExtractor(24_000, padding_side=side)
    told = {"sampling_rate": 24_000, "return_tensors": "pt", **options}
    wanted, found = theirs(CLIPS, **told), ours(CLIPS, **told)
    assert torch.equal(found["input_values"], wanted["input_values"])
    assert found["padding_mask"].tolist() == wanted["padding_mask"].tolist()


def test_a_saved_feature_extractor_is_read_by_both_sides(tmp_path: Path) -> None:
    AutoFeatureExtractor(24_000, padding_side="left").save_pretrained(tmp_path)
    ours = AutoFeatureExtractor.from_pretrained(tmp_path)
    theirs = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    for side in (ours, theirs):
        assert (side.sampling_rate, side.feature_size, side.padding_side) == (24_000, 1, "left")


def test_what_cannot_be_extracted_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="feature_size is 2"):
        AutoFeatureExtractor(24_000, feature_size=2)
    ours = AutoFeatureExtractor(24_000)
    with pytest.raises(UnsupportedError, match="both set"):
        ours(CLIPS, padding=True, truncation=True, max_length=9)
    with pytest.raises(UnsupportedError, match="max_length is not given"):
        ours(CLIPS, truncation=True)
