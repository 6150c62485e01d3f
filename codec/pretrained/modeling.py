"""`GroveModel`: the codec in torch, with the interface of transformers' MimiModel.

For devices, half precision and gradients. Its codes equal those of `AutoCodec` but for near ties
that rounding decides; where every token counts, `AutoCodec` is the one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from grove.codec.auto.arrays import ShapeError, as_lengths
from grove.codec.auto.odd_books import neutral_code
from grove.codec.bundle import MANIFEST, find_bundle, load_bundle
from grove.codec.config import CodecConfig
from grove.codec.errors import BundleError
from grove.codec.model.codec import CodecNetwork
from grove.codec.model.quantizers import Quantizer
from grove.codec.model.quantizers.book import TableBook
from grove.codec.model.scatter import Scatter
from grove.codec.pretrained.configuration import GroveConfig
from grove.codec.pretrained.weights import codec_of, finished_codec

_Model = TypeVar("_Model", bound=nn.Module)
_FULL_PRECISION = (Quantizer, Scatter)
"""In half precision neighbouring codes become ties, and sums of many bits lose some."""


@dataclass
class GroveEncoderOutput(ModelOutput):
    """Codes [B, K, T], which frames are the row's own [B, T], and the quantized latent [B, D, T].

    The latent carries the encoder's gradient straight through; the codes carry none.
    """

    audio_codes: Tensor | None = None
    audio_codes_mask: Tensor | None = None
    quantized_representation: Tensor | None = None


@dataclass
class GroveDecoderOutput(ModelOutput):
    """Audio [B, 1, N]."""

    audio_values: Tensor | None = None


@dataclass
class GroveOutput(ModelOutput):
    """What went through the whole codec."""

    audio_codes: Tensor | None = None
    audio_values: Tensor | None = None
    audio_codes_mask: Tensor | None = None
    quantized_representation: Tensor | None = None


class GroveModel(PreTrainedModel):
    """Encoder, quantizer and decoder of a bundle, as torch modules."""

    config_class = GroveConfig
    config: GroveConfig
    base_model_prefix = "grove"
    main_input_name = "input_values"
    input_modalities = "audio"
    _keep_in_fp32_modules_strict = {"quantizer", "scatter"}  # noqa: RUF012 - transformers' own

    def __init__(self, config: GroveConfig) -> None:
        super().__init__(config)
        self.codec = finished_codec(CodecConfig.model_validate(config.architecture))
        _keep_tables(self.codec)
        self.post_init()  # type: ignore[no-untyped-call]

    @classmethod
    def from_bundle(
        cls, path_or_name: str | Path | None = None, architecture: CodecConfig | None = None
    ) -> Self:
        """Return a bundle's codec, by folder or name; proven on the bundle's golden vectors."""
        bundle = load_bundle(path_or_name)
        codec = codec_of(bundle, architecture)
        model = cls(GroveConfig.of(bundle.spec, codec.config))
        model.codec.load_state_dict(codec.state_dict(), strict=False)
        model.eval()  # type: ignore[no-untyped-call]
        return model

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | Path | None = None,
        *arguments: Any,  # noqa: ANN401 - transformers' own
        **options: Any,  # noqa: ANN401 - transformers' own
    ) -> Self:
        """Load what `save_pretrained` wrote, or a bundle by folder or by its shipped name."""
        if not _is_bundle(pretrained_model_name_or_path):
            loaded: Self = super().from_pretrained(
                pretrained_model_name_or_path, *arguments, **options
            )
            # transformers converts parameters as they are read, and leaves buffers alone.
            return _moved(loaded, loaded.dtype)
        model = cls.from_bundle(pretrained_model_name_or_path)
        dtype = options.pop("dtype", options.pop("torch_dtype", None))
        device = options.pop("device_map", None)
        if options:
            raise TypeError(f"a bundle takes dtype and device_map, not {', '.join(options)}")
        if dtype not in (None, "auto"):
            model = _moved(model, getattr(torch, dtype) if isinstance(dtype, str) else dtype)
        return model if device in (None, "auto") else _moved(model, device)

    @property
    def dtype(self) -> torch.dtype:
        """What encoder and decoder compute in; the quantizer always computes in float32."""
        return next(self.codec.encoder.parameters()).dtype

    def encode(
        self,
        input_values: Tensor,
        padding_mask: Tensor | None = None,
        num_quantizers: int | None = None,
        return_dict: bool | None = None,
    ) -> GroveEncoderOutput | tuple[Any, ...]:
        """Return codes of audio [B, 1, N], [B, N] or [N]; of all books if no number is given."""
        output = self._encoded(input_values, padding_mask, self._checked(num_quantizers))
        return output.to_tuple() if self._as_tuple(return_dict) else output

    def decode(
        self,
        audio_codes: Tensor | None = None,
        padding_mask: Tensor | None = None,
        quantized_representation: Tensor | None = None,
        num_quantizers: int | None = None,
        return_dict: bool | None = None,
    ) -> GroveDecoderOutput | tuple[Any, ...]:
        """Return audio [B, 1, N] of codes [B, K, T], or of a latent [B, D, T] with its gradient.

        A latent is decoded as one of `num_quantizers` books; of all, if no number is given.
        """
        if quantized_representation is not None:
            level = self._level_of(self._checked(num_quantizers))
            latent = quantized_representation.transpose(1, 2)
            audio = self._sound(latent, level)
        elif audio_codes is not None:
            audio = self._sound(*self._looked_up(audio_codes))
        else:
            raise ShapeError("expected audio_codes or quantized_representation")
        output = GroveDecoderOutput(audio_values=_placed(audio, padding_mask))
        return output.to_tuple() if self._as_tuple(return_dict) else output

    def forward(
        self,
        input_values: Tensor,
        padding_mask: Tensor | None = None,
        num_quantizers: int | None = None,
        audio_codes: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> GroveOutput | tuple[Any, ...]:
        """Encode and decode; with `audio_codes` only decode them.

        The sound has the gradients of the decoder and, straight through the codes, the encoder.
        """
        if padding_mask is None:
            padding_mask = input_values.new_ones(_rows(input_values).shape, dtype=torch.bool)
        if audio_codes is None:
            books = self._checked(num_quantizers)
            coded = self._encoded(input_values, padding_mask, books)
            latent, mask = coded.quantized_representation, coded.audio_codes_mask
            assert latent is not None
            audio_codes = coded.audio_codes
            audio = self._sound(latent.transpose(1, 2), self._level_of(books))
        else:
            latent = mask = None
            audio = self._sound(*self._looked_up(audio_codes))
        output = GroveOutput(
            audio_codes=audio_codes,
            audio_values=_placed(audio, padding_mask),
            audio_codes_mask=mask,
            quantized_representation=latent,
        )
        return output.to_tuple() if self._as_tuple(return_dict) else output

    def _encoded(
        self, input_values: Tensor, padding_mask: Tensor | None, books: int
    ) -> GroveEncoderOutput:
        pcm, samples = _compacted(input_values, padding_mask)
        padded = self.codec.pad(pcm.to(device=self.device, dtype=self.dtype))
        state = padded.new_zeros(len(padded), self.codec.encoder.state_size)
        latent, _ = self.codec.encoder(padded, state)
        quantized = self.codec.quantizer(latent, self._levels(latent, self._level_of(books)))
        codes = quantized.codes[..., :books].transpose(1, 2)
        carried = quantized.latent
        if books not in self._whole:
            # What is decoded has other codes in the last level than those that were found.
            whole, _ = self._looked_up(codes)
            carried = whole + (carried - carried.detach())
        frames = torch.tensor([self.codec.frames(n) if n else 0 for n in samples])
        mask = torch.arange(latent.shape[1]) < frames[:, None]
        return GroveEncoderOutput(
            audio_codes=codes,
            audio_codes_mask=mask.to(codes.device),
            quantized_representation=carried.transpose(1, 2),
        )

    def _looked_up(self, audio_codes: Tensor) -> tuple[Tensor, int]:
        """Return the latent [B, T, D] of codes [B, K, T], and how many levels it has."""
        codes = audio_codes[0] if audio_codes.ndim == 4 else audio_codes
        books = self._checked(codes.shape[1])
        level, total = self._level_of(books), len(self.codec.quantizer.code_sizes)
        whole = codes.new_zeros(len(codes), codes.shape[2], total).to(self.device)
        whole[..., :books] = codes.transpose(1, 2)
        for book in range(books, sum(self.config.codes_per_level[:level])):
            whole[..., book] = self._neutral[book]
        return self.codec.quantizer.decode(whole, self._levels(whole, level)), level

    def _sound(self, latent: Tensor, level: int) -> Tensor:
        """Return pcm [B, N] of a latent [B, T, D], without the decoder's delay."""
        state = latent.new_zeros(len(latent), self.codec.decoder.state_size, dtype=self.dtype)
        pcm, _ = self.codec.decoder(latent.to(self.dtype), self._levels(latent, level), state)
        sound: Tensor = pcm[:, self.codec.delay_samples :]
        return sound

    def _levels(self, frames: Tensor, level: int) -> Tensor:
        return torch.full(frames.shape[:2], level, device=frames.device)

    def _checked(self, books: int | None) -> int:
        total = len(self.codec.quantizer.code_sizes)
        if books is not None and not 1 <= books <= total:
            raise ShapeError(f"got {books} books, expected 1 to {total}")
        return total if books is None else books

    def _level_of(self, books: int) -> int:
        return next(level for level, count in enumerate(self._whole, 1) if count >= books)

    @property
    def _whole(self) -> tuple[int, ...]:
        """How many books each level has together with those below it."""
        return tuple(accumulate(self.config.codes_per_level))

    @cached_property
    def _neutral(self) -> list[int]:
        books = [book for book in self.codec.quantizer.modules() if isinstance(book, TableBook)]
        return [neutral_code(book.values.detach().float().cpu().numpy()) for book in books]

    def _as_tuple(self, return_dict: bool | None) -> bool:
        return not (self.config.return_dict if return_dict is None else return_dict)

    def _init_weights(self, module: nn.Module) -> None:
        """Leave what the codec's own modules began with."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move all, and keep in full precision what rounding would make another thing."""
        exact = {
            id(tensor)
            for module in self.modules()
            if isinstance(module, _FULL_PRECISION)
            for tensor in (*module.parameters(), *module.buffers())
        }

        def moved(tensor: Tensor) -> Tensor:
            there = fn(tensor)
            return tensor.to(there.device) if id(tensor) in exact else there

        applied: Self = super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        return applied


def _moved(model: _Model, to: torch.dtype | torch.device | str) -> _Model:
    nn.Module.to(model, to)
    return model


def _is_bundle(path_or_name: str | Path | None) -> bool:
    try:
        return (find_bundle(path_or_name) / MANIFEST).is_file()
    except BundleError:
        return False


def _keep_tables(codec: CodecNetwork) -> None:
    """Let transforms and windows travel with the weights: they are made once, with the module."""
    for module in list(codec.modules()):
        for name, buffer in list(module.named_buffers(recurse=False)):
            module.register_buffer(name, buffer, persistent=True)


def _rows(input_values: Tensor) -> Tensor:
    """Return audio [B, N] of [B, 1, N], [B, N] or [N]."""
    if not isinstance(input_values, Tensor) or not input_values.is_floating_point():
        raise ShapeError("input_values are no tensor of floats with full scale at 1")
    rows = input_values[None] if input_values.ndim == 1 else input_values
    if rows.ndim == 3 and rows.shape[1] == 1:
        rows = rows[:, 0]
    if rows.ndim != 2:
        raise ShapeError(
            f"input_values have the shape {tuple(input_values.shape)}, "
            f"expected [B, 1, N], [B, N] or [N]",
            hint="mix several channels down to one",
        )
    return rows


def _compacted(input_values: Tensor, mask: Tensor | None) -> tuple[Tensor, list[int]]:
    """Return rows [B, N] that begin with their own samples, silence behind, and their lengths."""
    rows = _rows(input_values)
    if mask is None:
        return rows, [rows.shape[1]] * len(rows)
    places = as_lengths(mask, (rows.shape[0], rows.shape[1]))
    samples = [place.stop - place.start for place in places]
    pieces = [row[place] for row, place in zip(rows, places, strict=True)]
    longest = max(samples, default=0)
    padded = [nn.functional.pad(piece, (0, longest - len(piece))) for piece in pieces]
    return torch.stack(padded), samples


def _placed(audio: Tensor, mask: Tensor | None) -> Tensor:
    """Return audio [B, 1, N] of rows [B, n], each where its mask [B, N] has it, else silence."""
    if mask is None:
        return audio[:, None]
    total = mask.shape[-1]
    rows = []
    for row, place in zip(audio, as_lengths(mask, (len(audio), total)), strict=True):
        piece = row[: place.stop - place.start]
        rows.append(nn.functional.pad(piece, (place.start, total - place.start - len(piece))))
    return torch.stack(rows)[:, None]
