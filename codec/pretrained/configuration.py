"""The config of `GroveModel`: a codec's numbers under transformers' names, and its architecture."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig

from grove.codec.auto.outputs import config_of
from grove.codec.config import CodecConfig, CodecSpec


class GroveConfig(PretrainedConfig):
    """What `config.json` holds; without arguments it is an untrained grove-24k."""

    model_type = "grove"

    def __init__(  # noqa: PLR0917 - transformers names them
        self,
        architecture: dict[str, Any] | None = None,
        sampling_rate: int = 24_000,
        hop_length: int = 480,
        frame_rate: float = 50.0,
        codebook_size: int = 1024,
        codebook_sizes: list[int] | None = None,
        codes_per_level: list[int] | None = None,
        target_bandwidths: list[float] | None = None,
        codec_name: str | None = None,
        codec_version: str | None = None,
        model_sha256: str | None = None,
        **kwargs: Any,  # noqa: ANN401 - transformers' own
    ) -> None:
        self.architecture = architecture or CodecConfig().model_dump(mode="json")
        self.sampling_rate = sampling_rate
        self.audio_channels = 1
        self.hop_length = hop_length
        self.frame_rate = frame_rate
        self.codebook_size = codebook_size
        self.codebook_sizes = codebook_sizes or [codebook_size] * 12
        self.num_quantizers = len(self.codebook_sizes)
        self.codes_per_level = codes_per_level or [2] * 6
        self.target_bandwidths = target_bandwidths or [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
        self.codec_name = codec_name
        self.codec_version = codec_version
        self.model_sha256 = model_sha256
        """Of the bundle that the weights came from; tokens of other weights are other tokens."""
        for derived in ("audio_channels", "num_quantizers"):
            kwargs.pop(derived, None)
        super().__init__(**kwargs)

    @classmethod
    def of(cls, spec: CodecSpec, architecture: CodecConfig) -> GroveConfig:
        """Return the config of a bundle."""
        numbers = config_of(spec)
        return cls(
            architecture=architecture.model_dump(mode="json"),
            sampling_rate=numbers.sampling_rate,
            hop_length=numbers.hop_length,
            frame_rate=numbers.frame_rate,
            codebook_size=numbers.codebook_size,
            codebook_sizes=list(numbers.codebook_sizes),
            codes_per_level=list(numbers.codes_per_level),
            target_bandwidths=list(numbers.target_bandwidths),
            codec_name=spec.name,
            codec_version=spec.version,
            model_sha256=spec.model_sha256,
        )
