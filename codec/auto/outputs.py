"""What `AutoCodec` hands back, shaped as in transformers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from grove.codec.auto.arrays import Array
from grove.codec.config import CodecSpec, Frozen


class AutoConfig(Frozen):
    """The numbers of a codec under the names that transformers gives them."""

    model_type: str = "grove"
    name: str
    version: str
    model_sha256: str
    sampling_rate: int
    audio_channels: int = 1
    hop_length: int
    frame_rate: float
    num_quantizers: int
    codebook_size: int
    """Of the largest book; `codebook_sizes` has all."""
    codebook_sizes: tuple[int, ...]
    levels: int
    codes_per_level: tuple[int, ...]
    target_bandwidths: tuple[float, ...]
    """In kbit/s, one for each level."""
    delay_samples: int


class ModelOutput:
    """Named arrays; by name, by key, or by their place among those that are not None."""

    def __getitem__(self, key: int | str) -> Any:  # noqa: ANN401 - arrays of several kinds
        return getattr(self, key) if isinstance(key, str) else self.to_tuple()[key]

    def keys(self) -> tuple[str, ...]:
        names = (field.name for field in fields(self))  # type: ignore[arg-type]
        return tuple(name for name in names if getattr(self, name) is not None)

    def to_tuple(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.keys())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())


@dataclass(frozen=True, eq=False)
class EncoderOutput(ModelOutput):
    """Codes [B, K, T], and a mask [B, T] of the frames that are the row's own."""

    audio_codes: Array
    audio_codes_mask: Array


@dataclass(frozen=True, eq=False)
class EncodecEncoderOutput(ModelOutput):
    """Codes [1, B, K, T] as EnCodec gives them; there are no scales."""

    audio_codes: Array
    audio_scales: list[None]
    last_frame_pad_length: int
    audio_codes_mask: Array


@dataclass(frozen=True, eq=False)
class DecoderOutput(ModelOutput):
    """Audio [B, 1, N]."""

    audio_values: Array


@dataclass(frozen=True, eq=False)
class CodecOutput(ModelOutput):
    """What went through the whole codec."""

    audio_codes: Array
    audio_values: Array


def config_of(spec: CodecSpec) -> AutoConfig:
    """Return what transformers would call the config of a codec."""
    return AutoConfig(
        name=spec.name,
        version=spec.version,
        model_sha256=spec.model_sha256,
        sampling_rate=spec.sample_rate_hz,
        hop_length=spec.hop_samples,
        frame_rate=spec.frame_rate_hz,
        num_quantizers=len(spec.code_sizes),
        codebook_size=max(spec.code_sizes),
        codebook_sizes=spec.code_sizes,
        levels=spec.levels,
        codes_per_level=spec.codes_per_level,
        target_bandwidths=tuple(spec.bitrate_bps(n) / 1000 for n in range(1, spec.levels + 1)),
        delay_samples=spec.delay_samples,
    )
