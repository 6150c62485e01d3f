"""Shims, not the real models: `AutoCodec` under the interfaces of Mimi, EnCodec and DAC.

A script changes its import line. What these models have and this codec has not raises one
`UnsupportedError` that says what there is instead.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from grove.codec.auto.arrays import Values, as_numpy, as_signals, like
from grove.codec.auto.model import AutoCodec, UnsupportedError
from grove.codec.auto.outputs import CodecOutput, DecoderOutput, EncodecEncoderOutput
from grove.codec.auto.peer_outputs import (
    DacEncoderOutput,
    DacOutput,
    MimiDecoderOutput,
    MimiEncoderOutput,
    MimiOutput,
    no_latent,
)


class MimiModel(AutoCodec):
    """As transformers' MimiModel."""

    def encode(  # type: ignore[override]
        self,
        input_values: Values,
        padding_mask: Values | None = None,
        num_quantizers: int | None = None,
        encoder_past_key_values: object = None,
        padding_cache: object = None,
        *,
        use_streaming: bool | None = None,
        return_dict: bool | None = None,
    ) -> MimiEncoderOutput | tuple[Any, ...]:
        """Return codes [B, K, T]; without a number of books, of all levels."""
        if encoder_past_key_values is not None or padding_cache is not None or use_streaming:
            raise UnsupportedError(
                "encode keeps no cache between calls", hint="use model.streaming() for a stream"
            )
        coded = super().encode(input_values, None, padding_mask, num_quantizers=num_quantizers)
        if return_dict is False:
            return (coded.audio_codes,)
        return MimiEncoderOutput(coded.audio_codes, coded.audio_codes_mask)

    def decode(  # type: ignore[override]
        self,
        audio_codes: Values,
        padding_mask: Values | None = None,
        decoder_past_key_values: object = None,
        return_dict: bool | None = None,
        *,
        audio_codes_mask: Values | None = None,
    ) -> MimiDecoderOutput | tuple[Any, ...]:
        """Return audio [B, 1, N] for codes [B, K, T]."""
        if decoder_past_key_values is not None:
            raise UnsupportedError(
                "decode keeps no cache between calls", hint="use model.streaming() for a stream"
            )
        made = super().decode(audio_codes, padding_mask, audio_codes_mask=audio_codes_mask)
        output = MimiDecoderOutput(made.audio_values)
        return output.to_tuple() if return_dict is False else output

    def __call__(  # type: ignore[override]  # noqa: PLR0917 - transformers' order
        self,
        input_values: Values,
        padding_mask: Values | None = None,
        num_quantizers: int | None = None,
        audio_codes: Values | None = None,
        encoder_past_key_values: object = None,
        decoder_past_key_values: object = None,
        *,
        return_dict: bool | None = None,
    ) -> MimiOutput | tuple[Any, ...]:
        """Encode and decode; with `audio_codes` only decode them."""
        if encoder_past_key_values is not None or decoder_past_key_values is not None:
            raise UnsupportedError(
                "the model keeps no cache between calls", hint="use model.streaming() for a stream"
            )
        made = _through(self, input_values, padding_mask, num_quantizers, audio_codes)
        output = MimiOutput(made.audio_codes, made.audio_values)
        return output.to_tuple() if return_dict is False else output

    def get_encoded_length(self, input_length: Values) -> Values:
        """Return how many frames so many samples make."""
        lengths = as_numpy(input_length)
        counted = [self.codec.spec.frames_for(int(length)) for length in lengths.ravel()]
        return like(input_length, np.array(counted, np.int64).reshape(lengths.shape))

    def get_audio_codes_mask(self, padding_mask: Values, padding_side: str = "right") -> Values:
        """Return [B, T]: which frames are the row's own; codes lie left, whatever the side."""
        if padding_side not in ("left", "right"):
            raise UnsupportedError(f"padding_side is {padding_side!r}, expected left or right")
        samples = as_numpy(padding_mask).astype(bool).sum(-1)
        frames = np.array([self.codec.spec.frames_for(int(count)) for count in samples])
        return like(padding_mask, np.arange(frames.max(initial=0)) < frames[:, None])


class EncodecModel(AutoCodec):
    """As transformers' EncodecModel."""

    def encode(  # type: ignore[override]
        self,
        input_values: Values,
        padding_mask: Values | None = None,
        bandwidth: float | None = None,
        return_dict: bool | None = None,
    ) -> EncodecEncoderOutput | tuple[Any, ...]:
        """Return codes [1, B, K, T]; without a bandwidth in kbit/s, of all levels."""
        codes, valid = self._encoded(input_values, None, padding_mask)
        books = self._books(None if bandwidth is None else self._level_at(bandwidth), None)
        output = EncodecEncoderOutput(
            like(input_values, codes[None, :, :books]), [None], 0, like(input_values, valid)
        )
        return output.to_tuple()[:3] if return_dict is False else output

    def decode(  # type: ignore[override]
        self,
        audio_codes: Values,
        audio_scales: object = None,  # noqa: ARG002 - EnCodec's, and always [None] here
        padding_mask: Values | None = None,
        return_dict: bool | None = None,
        last_frame_pad_length: int = 0,  # noqa: ARG002 - EnCodec's
        *,
        audio_codes_mask: Values | None = None,
    ) -> DecoderOutput | tuple[Any, ...]:
        """Return audio [B, 1, N] for codes [1, B, K, T]."""
        made = self._decoded(audio_codes, padding_mask, audio_codes_mask)
        output = DecoderOutput(like(audio_codes, made))
        return output.to_tuple() if return_dict is False else output

    def __call__(  # type: ignore[override]  # noqa: PLR0917 - transformers' order
        self,
        input_values: Values,
        padding_mask: Values | None = None,
        bandwidth: float | None = None,
        audio_codes: Values | None = None,
        audio_scales: object = None,  # noqa: ARG002 - as in decode
        return_dict: bool | None = None,
        last_frame_pad_length: int = 0,  # noqa: ARG002 - EnCodec's
    ) -> CodecOutput | tuple[Any, ...]:
        """Encode and decode; with `audio_codes` only decode them."""
        books = None
        if bandwidth is not None:
            books = self.codec.spec.codes_at(self._level_at(bandwidth))
        output = _through(self, input_values, padding_mask, books, audio_codes)
        if audio_codes is None:
            output = replace(output, audio_codes=output.audio_codes[None])
        return output.to_tuple() if return_dict is False else output

    def _level_at(self, bandwidth_kbps: float) -> int:
        known = self.config.target_bandwidths
        if bandwidth_kbps not in known:
            raise UnsupportedError(
                f"bandwidth is {bandwidth_kbps} kbit/s, expected one of "
                f"{', '.join(f'{value:g}' for value in known)}"
            )
        return known.index(bandwidth_kbps) + 1


class DacModel(AutoCodec):
    """As transformers' DacModel, as far as codes go: there is no latent to be had."""

    def encode(  # type: ignore[override]
        self,
        input_values: Values,
        n_quantizers: int | None = None,
        return_dict: bool | None = None,
    ) -> DacEncoderOutput:
        """Return codes [B, K, T]."""
        if return_dict is False:
            raise no_latent("the tuple of encode")
        coded = super().encode(input_values, num_quantizers=n_quantizers)
        return DacEncoderOutput(coded.audio_codes, coded.audio_codes_mask)

    def decode(  # type: ignore[override]
        self,
        quantized_representation: Values | None = None,
        audio_codes: Values | None = None,
        return_dict: bool | None = None,
    ) -> DecoderOutput | tuple[Any, ...]:
        """Return audio [B, N] for codes [B, K, T]; these count where both are given."""
        if audio_codes is None:
            given = "nothing" if quantized_representation is None else "quantized_representation"
            raise no_latent(f"decode of {given}")
        made = super().decode(audio_codes).audio_values
        output = DecoderOutput(made[:, 0])
        return output.to_tuple() if return_dict is False else output

    def __call__(  # type: ignore[override]
        self,
        input_values: Values,
        n_quantizers: int | None = None,
        return_dict: bool | None = None,
    ) -> DacOutput:
        """Encode and decode: audio [B, N]."""
        if return_dict is False:
            raise no_latent("the tuple of the model")
        made = _through(self, input_values, None, n_quantizers, None)
        return DacOutput(made.audio_values[:, 0], made.audio_codes)


def _through(
    model: AutoCodec,
    input_values: Values,
    padding_mask: Values | None,
    books: int | None,
    audio_codes: Values | None,
) -> CodecOutput:
    """Encode, unless codes are given, and decode to the length of the input."""
    if audio_codes is None:
        coded = AutoCodec.encode(model, input_values, None, padding_mask, num_quantizers=books)
        audio_codes = coded.audio_codes
    mask = np.ones(as_signals(input_values).shape, bool) if padding_mask is None else padding_mask
    made = AutoCodec.decode(model, audio_codes, mask)
    return CodecOutput(like(audio_codes, as_numpy(audio_codes)), made.audio_values)
