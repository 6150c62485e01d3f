"""What a folder of tokens holds, as values that are written as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import soxr
from pydantic import Field, field_validator, model_validator

from grove.codec.arrays import U16
from grove.codec.bundle import Bundle
from grove.codec.config import CodecSpec, Frozen
from grove.codec.errors import CodecError
from grove.codec.exact.canonical import CANONICAL_VERSION
from grove.codec.exact.kernels import kernel_class, runtime_version

Format = Literal["parquet", "webdataset", "npy", "safetensors", "kaldi", "shar", "jsonl", "grv"]
FORMATS: tuple[Format, ...] = (
    "parquet",
    "webdataset",
    "npy",
    "safetensors",
    "kaldi",
    "shar",
    "jsonl",
    "grv",
)


class TokensError(CodecError):
    """A folder of tokens, or a list of audio, that cannot be used."""


class CodecCard(Frozen):
    """Everything needed to know what the codes mean and how they were made."""

    codec: CodecSpec
    levels: int
    """How many levels the rows keep."""
    licence: str
    description: str
    resampler: str
    canonical: int = 0
    """The version of canonical codes; 0 for those of whatever computed them."""
    runtime: str | None = None
    """The library and version that computed plain codes; None where nobody noted it."""
    kernels: str | None = None
    """The processor's kind, as its kernels are chosen by."""

    @property
    def books(self) -> int:
        return self.codec.codes_at(self.levels)

    @property
    def arithmetic(self) -> str:
        """What may move a code, in words."""
        if self.canonical:
            return f"canonical codes {self.canonical}"
        return f"{self.runtime or 'an unknown runtime'} on {self.kernels or 'an unknown processor'}"

    @classmethod
    def of(cls, bundle: Bundle, levels: int, canonical: bool = False) -> "CodecCard":
        return cls(
            codec=bundle.spec,
            levels=levels,
            licence=bundle.manifest.licence,
            description=bundle.manifest.description,
            resampler=f"soxr {soxr.__version__} HQ",
            canonical=CANONICAL_VERSION if canonical else 0,
            runtime=None if canonical else runtime_version(),
            kernels=None if canonical else kernel_class(),
        )


class LevelGateConfig(Frozen):
    """What is loud enough to keep; nothing but the level decides, so a slammed door is kept too."""

    threshold_dbfs: float = -45
    shortest_pause_s: float = Field(0.5, gt=0)
    padding_s: float = Field(0.1, ge=0)


class TokenizeSettings(Frozen):
    """All choices that change the bytes of the shards."""

    format: Format = "parquet"
    levels: int = Field(ge=1)
    items_per_shard: int = Field(512, ge=1)
    row_seconds: float = Field(3600, ge=1)
    """Longer audio becomes several rows, or memory would grow with the length of a file."""
    level_gate: LevelGateConfig | None = None
    canonical: bool = False
    """Codes that no processor and no version of the runtime moves."""

    @model_validator(mode="before")
    @classmethod
    def _gate_has_its_name(cls, raw: object) -> object:
        """Take folders written when the gate was called `vad`."""
        if not isinstance(raw, Mapping) or "vad" not in raw:
            return raw
        others = {name: value for name, value in raw.items() if name != "vad"}
        return {"level_gate": raw["vad"], **others}

    def row_frames(self, spec: CodecSpec) -> int:
        return max(1, round(self.row_seconds * spec.frame_rate_hz))


class RowMeta(Frozen):
    """A row without its codes."""

    id: str
    part: int = 0
    """Long audio is cut into parts; the codec's memory runs on from part to part."""
    n_frames: int
    n_books: int
    num_samples: int
    """At the codec's rate; the decoder's delay is taken off."""
    sample_rate_hz: int
    """Of the original, as `channels` is; 0 where it could not be opened."""
    channels: int
    start_s: float
    duration_s: float
    source_uri: str
    source_sha256: str
    codec: str
    codec_sha256: str
    resampler: str
    error: str | None = None

    @field_validator("error")
    @classmethod
    def _nothing_wrong(cls, error: str | None) -> str | None:
        return error or None

    def to_columns(self) -> dict[str, object]:
        """Return the columns for JSON, where `error` is always text.

        Readers that infer a type from the first lines could not take a text after nulls.
        """
        return self.model_dump() | {"error": self.error or ""}


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """Codes uint16 [T, K] and where they come from."""

    meta: RowMeta
    codes: U16

    @property
    def key(self) -> str:
        """The id, made unique among the parts of one source."""
        return self.meta.id if self.meta.part == 0 else f"{self.meta.id}#{self.meta.part}"


class LedgerEntry(Frozen):
    """A source that could not be read, or not to its end."""

    id: str
    source_uri: str
    n_frames: int
    """What could be saved."""
    error: str


class FileEntry(Frozen):
    """A file of a shard."""

    name: str
    size_bytes: int
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class ShardRecord(Frozen):
    """A finished shard; written last, so that what it names is whole."""

    number: int
    files: tuple[FileEntry, ...]
    rows: int
    frames: int
    samples: int
    ledger: tuple[LedgerEntry, ...]


class RunFile(Frozen):
    """`run.json`: what was asked for."""

    schema_version: Literal[1] = 1
    card: CodecCard
    settings: TokenizeSettings
    inputs: tuple[str, ...] = ()
    """As `recorded` spells them; empty where nobody noted them."""
    plan_sha256: str
    shards: int


class Manifest(Frozen):
    """`manifest.json`: the finished folder. No times in it: the same run gives the same bytes."""

    schema_version: Literal[1] = 1
    card: CodecCard
    settings: TokenizeSettings
    shards: int
    rows: int
    frames: int
    samples: int
    seconds: float
    errors: int
    ledger_sha256: str
    files: tuple[FileEntry, ...]


def shard_stem(number: int) -> str:
    """Return the name of a shard's files, without what follows the dot."""
    return f"tokens-{number:06d}"


def shard_number(stem: str) -> int:
    """Return the number that `shard_stem` made a name of."""
    return int(stem.rpartition("-")[2])
