"""Configuration of training data and its augmentation, as a recipe may state it."""

from typing import Annotated, Protocol, Self

from pydantic import AfterValidator, Field, model_validator

from grove.codec.config import CodecConfig, Frozen


def ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"range runs from {bounds[0]} down to {bounds[1]}, expected low then high")
    return bounds


Share = Annotated[float, Field(ge=0, le=1)]
Range = Annotated[tuple[float, float], AfterValidator(ascending)]
PositiveRange = Annotated[tuple[float, float], Field(min_length=2), AfterValidator(ascending)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class KindWeights(Frozen):
    """Share of the crops per kind; kinds without audio give theirs to the others."""

    speech: Weight = 0.8
    music: Weight = 0.1
    noise: Weight = 0.1

    @model_validator(mode="after")
    def _something_is_drawn(self) -> Self:
        if self.speech + self.music + self.noise == 0:
            raise ValueError("all kind weights are 0, at least one must be positive")
        return self


class SilenceConfig(Frozen):
    """A crop is silent when more than `max_share` of its 20 ms blocks peak below the threshold."""

    threshold_dbfs: float = Field(-66.0, le=0)
    max_share: Share = 0.5
    keep_share: Share = 0.05


class DataConfig(Frozen):
    """What is drawn from the cache, and how often."""

    shards: tuple[str, ...] = ()
    """Shard name patterns to use (`train-*`); empty: all."""
    shards_per_rank: bool = False
    """Each rank caches and draws from its own shards, for data larger than a machine."""
    validation_share: float = Field(0.03, ge=0, lt=1)
    kinds: KindWeights = KindWeights()
    source_exponent: float = Field(0.6, ge=0, le=1)
    """A source is drawn in proportion to hours ** exponent: 0 evenly, 1 as it comes."""
    speaker_exponent: float = Field(0.5, ge=0, le=1)
    wideband_rate_hz: int = Field(22_050, ge=8_000)
    wideband_factor: float = Field(2.0, gt=0)
    """How much more often speech recorded at `wideband_rate_hz` or above is drawn."""
    silence: SilenceConfig = SilenceConfig()
    prefetch: bool = True


class GainConfig(Frozen):
    """Level changes; upward only as far as full scale."""

    probability: Share = 0.8
    range_db: Range = (-18.0, 3.0)


class NoiseConfig(Frozen):
    """A crop of the noise pool, added at a random signal-to-noise ratio."""

    probability: Share = 0.05
    snr_db: Range = (5.0, 30.0)


class ReverbConfig(Frozen):
    """A synthetic room: the direct sound and an exponentially decaying noise tail."""

    probability: Share = 0.05
    decay_seconds: PositiveRange = (0.1, 0.5)
    """Time in which the tail falls by 60 dB."""
    direct_db: Range = (3.0, 18.0)
    """Level of the direct sound over the tail's."""

    @model_validator(mode="after")
    def _decay_is_positive(self) -> Self:
        if self.decay_seconds[0] <= 0 or self.decay_seconds[1] > 5:
            raise ValueError(f"decay_seconds must lie in (0, 5], got {self.decay_seconds}")
        return self


class BandLimitConfig(Frozen):
    """A low-pass at a random frequency, as telephones and old recordings have."""

    probability: Share = 0.05
    cutoff_hz: Range = (3_400.0, 12_000.0)

    @model_validator(mode="after")
    def _cutoff_is_audible(self) -> Self:
        if self.cutoff_hz[0] < 100:
            raise ValueError(f"cutoff_hz must start at 100 Hz or above, got {self.cutoff_hz}")
        return self


class ClippingConfig(Frozen):
    """Peaks cut at a random depth below the crop's own peak."""

    probability: Share = 0.01
    depth_db: Range = (1.0, 9.0)

    @model_validator(mode="after")
    def _depth_is_downward(self) -> Self:
        if self.depth_db[0] < 0:
            raise ValueError(f"depth_db must not be negative, got {self.depth_db}")
        return self


class AugmentConfig(Frozen):
    """What happens to a crop before it is both the input and the target."""

    gain: GainConfig = GainConfig()
    noise: NoiseConfig = NoiseConfig()
    reverb: ReverbConfig = ReverbConfig()
    band_limit: BandLimitConfig = BandLimitConfig()
    clipping: ClippingConfig = ClippingConfig()


class CropPlan(Protocol):
    """What of a recipe says which crops a step gets."""

    @property
    def codec(self) -> CodecConfig: ...

    @property
    def batch(self) -> int: ...

    @property
    def crop_samples(self) -> int: ...

    @property
    def data(self) -> DataConfig: ...

    @property
    def augment(self) -> AugmentConfig: ...
