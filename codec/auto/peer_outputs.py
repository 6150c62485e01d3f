"""Outputs of the shims for Mimi and DAC, with every name that transformers has in them."""

from dataclasses import dataclass
from typing import Never

from grove.codec.auto.arrays import Array
from grove.codec.auto.model import UnsupportedError
from grove.codec.auto.outputs import CodecOutput, DecoderOutput, EncoderOutput, ModelOutput


@dataclass(frozen=True, eq=False)
class MimiEncoderOutput(EncoderOutput):
    """Codes [B, K, T]; there are no caches."""

    encoder_past_key_values: None = None
    padding_cache: None = None


@dataclass(frozen=True, eq=False)
class MimiDecoderOutput(DecoderOutput):
    """Audio [B, 1, N]; there is no cache."""

    decoder_past_key_values: None = None


@dataclass(frozen=True, eq=False)
class MimiOutput(CodecOutput):
    """What went through the whole codec; there are no caches."""

    encoder_past_key_values: None = None
    decoder_past_key_values: None = None


def no_latent(what: str) -> UnsupportedError:
    return UnsupportedError(
        f"{what} would need a loss or a latent, and an exported codec has codes only",
        hint="decode(audio_codes=...) takes codes; codec.GroveModel, in torch, has the latent",
    )


class _NoLatents(ModelOutput):
    """Says what there is instead, where a script asks for what DAC has besides codes."""

    @property
    def loss(self) -> Never:
        raise no_latent("loss")

    @property
    def quantized_representation(self) -> Never:
        raise no_latent("quantized_representation")

    @property
    def projected_latents(self) -> Never:
        raise no_latent("projected_latents")


@dataclass(frozen=True, eq=False)
class DacEncoderOutput(_NoLatents):
    """Codes [B, K, T], and a mask [B, T] of the frames that are the row's own."""

    audio_codes: Array
    audio_codes_mask: Array


@dataclass(frozen=True, eq=False)
class DacOutput(_NoLatents):
    """Audio [B, N] and codes [B, K, T]."""

    audio_values: Array
    audio_codes: Array
