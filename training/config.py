"""A training run as one frozen value: what a recipe file may say, and the defaults it may omit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from grove.codec.config import CodecConfig, Frozen
from grove.codec.errors import ConfigError
from grove.training.data.config import AugmentConfig, DataConfig, Share, Weight, ascending
from grove.training.loss.adversary import AdversaryConfig
from grove.training.loss.terms import LossConfig
from grove.training.optimizers import AdamwConfig

# --- stages -----------------------------------------------------------------------------


class ReconstructionStage(Frozen):
    """Codec and books learn from the reconstruction losses."""

    kind: Literal["reconstruction"] = "reconstruction"
    name: str = Field("reconstruction", pattern="^[a-z0-9_-]+$")
    steps: int = Field(ge=1)
    unquantized_steps: int = Field(0, ge=0)
    """Steps before the books start; without them the first books collapse."""
    losses: LossConfig = LossConfig()
    optimizer: AdamwConfig = AdamwConfig()

    @model_validator(mode="after")
    def _books_start_in_the_stage(self) -> Self:
        if self.unquantized_steps >= self.steps:
            raise ValueError(
                f"unquantized_steps is {self.unquantized_steps}, the stage has {self.steps} steps"
            )
        return self


class AdversarialStage(Frozen):
    """Codec and books learn, discriminators beside them."""

    kind: Literal["adversarial"] = "adversarial"
    name: str = Field("adversarial", pattern="^[a-z0-9_-]+$")
    steps: int = Field(ge=1)
    losses: LossConfig = LossConfig()
    optimizer: AdamwConfig = AdamwConfig()
    adversary: AdversaryConfig = AdversaryConfig()


class RefineStage(Frozen):
    """Encoder and books are frozen, so tokens stay valid; the decoder learns on."""

    kind: Literal["refine"] = "refine"
    name: str = Field("refine", pattern="^[a-z0-9_-]+$")
    steps: int = Field(ge=1)
    losses: LossConfig = LossConfig()
    optimizer: AdamwConfig = AdamwConfig()
    adversary: AdversaryConfig | None = AdversaryConfig()


StageConfig = Annotated[
    ReconstructionStage | AdversarialStage | RefineStage, Field(discriminator="kind")
]


# --- the rest of a run ------------------------------------------------------------------


class DropoutConfig(Frozen):
    """What the decoder gets of an item: some levels, lost frames, or the latent as it is."""

    full_share: Share = 0.5
    """Share of the items with all levels; the others draw among the levels by `level_weights`."""
    level_weights: tuple[Weight, ...] = ()
    """From level 1 up; empty: evenly."""
    unquantized_share: Share = 0.0
    erasure_share: Share = 0.5
    """Share of the items that lose frames."""
    erasure_rate: Share = 0.05
    """Expected share of lost frames in those items."""
    burst_frames: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (1, 5)

    @model_validator(mode="after")
    def _bursts_ascend(self) -> Self:
        ascending(self.burst_frames)
        return self


class CheckpointConfig(Frozen):
    """Full training states; the best one by validation is always kept besides."""

    every_steps: int = Field(500, ge=1)
    keep_last: int = Field(3, ge=1)


class ValidationConfig(Frozen):
    """Held-out clips, never augmented."""

    every_steps: int = Field(500, ge=1)
    clips: int = Field(24, ge=1)
    clip_seconds: float = Field(4.0, gt=0)


class LoggingConfig(Frozen):
    """What TensorBoard gets."""

    every_steps: int = Field(10, ge=1)
    media_every_steps: int = Field(1_000, ge=1)
    media_clips: int = Field(4, ge=0)


class Recipe(Frozen):
    """One training run."""

    name: str = Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]*$")
    codec: CodecConfig = CodecConfig()
    seed: int = Field(0, ge=0, lt=2**63)
    batch: int = Field(12, ge=1)
    """Crops of a step over all ranks."""
    crop_seconds: float = Field(0.7, gt=0)
    threads: int = Field(1, ge=1)
    precision: Literal["fp32", "bf16"] = "fp32"
    ema_decay: float = Field(0.999, ge=0, lt=1)
    """Of the weights that are evaluated and exported; 0: the raw weights."""
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    losses: LossConfig = LossConfig()
    optimizer: AdamwConfig = AdamwConfig()
    stages: tuple[StageConfig, ...] = Field(min_length=1)
    dropout: DropoutConfig = DropoutConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    validation: ValidationConfig = ValidationConfig()
    logging: LoggingConfig = LoggingConfig()

    @model_validator(mode="before")
    @classmethod
    def _stages_inherit(cls, raw: object) -> object:
        """Lay each stage's losses and optimizer over the recipe's, so that a stage is complete."""
        if not isinstance(raw, Mapping) or not isinstance(raw.get("stages"), list | tuple):
            return raw
        return {**raw, "stages": [_inherit(stage, raw) for stage in raw["stages"]]}

    @model_validator(mode="after")
    def _stages_are_told_apart(self) -> Self:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"stage names must differ, got {names}")
        return self

    @model_validator(mode="after")
    def _crops_hold_frames(self) -> Self:
        if self.crop_samples < self.codec.hop_samples:
            raise ValueError(f"crop_seconds {self.crop_seconds} is less than one frame")
        return self

    @property
    def crop_samples(self) -> int:
        """Samples of a crop: the nearest whole number of frames."""
        hop = self.codec.hop_samples
        return round(self.crop_seconds * self.codec.sample_rate_hz / hop) * hop

    @property
    def total_steps(self) -> int:
        return sum(stage.steps for stage in self.stages)


def _inherit(stage: object, recipe: Mapping[str, object]) -> object:
    own = _plain(stage)
    if not isinstance(own, Mapping):
        return stage
    losses = _overlay(_plain(recipe.get("losses", {})), _plain(own.get("losses", {})))
    optimizer = _overlay(_plain(recipe.get("optimizer", {})), _plain(own.get("optimizer", {})))
    return {**own, "losses": losses, "optimizer": optimizer}


def _plain(value: object) -> object:
    """Turn a config into what its file would have said."""
    if isinstance(value, BaseModel):
        kind = {"kind": value.kind} if hasattr(value, "kind") else {}
        return {**value.model_dump(exclude_unset=True), **kind}
    return value


def _overlay(base: object, top: object) -> object:
    if not isinstance(base, Mapping) or not isinstance(top, Mapping):
        return top
    if "kind" in top and top["kind"] != base.get("kind", top["kind"]):
        return top  # another variant: the base's fields mean nothing to it
    return {**base, **{key: _overlay(base.get(key), value) for key, value in top.items()}}


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML lets the last of two equal keys win, which hides half of a recipe."""


def _unique_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[object, object]:
    names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    for name in names:
        if names.count(name) > 1:
            raise yaml.YAMLError(f"key {name!r} occurs twice{node.start_mark}")
    loader.flatten_mapping(node)
    mapping: dict[object, object] = loader.construct_mapping(node, deep=True)
    return mapping


_UniqueKeyLoader.add_constructor("tag:yaml.org,2002:map", _unique_mapping)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe file; `path.stem` is its name unless it gives one."""
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read recipe {path}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"recipe {path} is not YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"recipe {path} holds a {type(raw).__name__}, expected a mapping")
    try:
        return Recipe.model_validate({"name": path.stem, **raw})
    except ValidationError as error:
        raise ConfigError(f"recipe {path} is wrong: {_explain(error)}") from error


def _explain(error: ValidationError) -> str:
    lines = [f"{'.'.join(map(str, e['loc'])) or 'recipe'}: {e['msg']}" for e in error.errors()]
    return "; ".join(lines)
