"""The plan: every source in order, one line each, frozen before the first is opened.

Which shard a source falls into depends on the plan alone, never on engines, workers or ranks.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from grove.codec.atomic import OutputError, atomic_file
from grove.codec.config import Frozen
from grove.codec.tokens.records import TokensError

PLAN = "items.jsonl"
_TAR_MARK = b'{"kind":"tar"'


class FileItem(Frozen):
    """Audio, or a piece of it in seconds."""

    kind: Literal["file"] = "file"
    id: str = Field(min_length=1)
    uri: str
    start_s: float = Field(0, ge=0)
    end_s: float | None = None


class TarItem(Frozen):
    """A tar of audio files; it makes a shard of its own."""

    kind: Literal["tar"] = "tar"
    id: str
    uri: str


Item = Annotated[FileItem | TarItem, Field(discriminator="kind")]
_ITEM: TypeAdapter[FileItem | TarItem] = TypeAdapter(Item)


@dataclass(frozen=True, slots=True)
class ShardSlice:
    """Where the items of a shard stand in the plan."""

    number: int
    offset_bytes: int
    items: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan that was read once from end to end."""

    path: Path
    sha256: str
    items: int
    slices: tuple[ShardSlice, ...]


def write_plan(folder: Path, items: Iterable[FileItem | TarItem], overwrite: bool = False) -> None:
    """Write the plan; where another rank was faster, its plan stands unless `overwrite`."""
    try:
        with atomic_file(folder / PLAN, overwrite) as file:
            for item in items:
                file.write(_line(item))
    except OutputError:
        if not (folder / PLAN).is_file():
            raise


def plan_sha256(items: Iterable[FileItem | TarItem]) -> str:
    """Return the hash of the plan that items would make."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(_line(item))
    return digest.hexdigest()


def _line(item: FileItem | TarItem) -> bytes:
    return item.model_dump_json().encode() + b"\n"


def read_plan(folder: Path, items_per_shard: int) -> Plan:
    """Scan the plan and cut it into shards."""
    digest = hashlib.sha256()
    slices: list[ShardSlice] = []
    offset, start, pending, total = 0, 0, 0, 0
    with (folder / PLAN).open("rb") as file:
        for line in file:
            digest.update(line)
            total += 1
            is_tar = line.startswith(_TAR_MARK)
            if pending and (is_tar or pending == items_per_shard):
                slices.append(ShardSlice(len(slices), start, pending))
                start, pending = offset, 0
            offset += len(line)
            pending += 1
            if is_tar:
                slices.append(ShardSlice(len(slices), start, 1))
                start, pending = offset, 0
    if pending:
        slices.append(ShardSlice(len(slices), start, pending))
    return Plan(folder / PLAN, digest.hexdigest(), total, tuple(slices))


def count_shards(items: Iterable[FileItem | TarItem], items_per_shard: int) -> tuple[int, int]:
    """Return how many items there are, and the shards that `read_plan` would cut them into."""
    total, shards, pending = 0, 0, 0
    for item in items:
        total += 1
        if isinstance(item, TarItem):
            shards, pending = shards + 1, 0
        else:
            shards += pending == 0
            pending = (pending + 1) % items_per_shard
    return total, shards


def read_slice(path: Path, part: ShardSlice) -> Iterator[FileItem | TarItem]:
    """Yield the items of one shard."""
    with path.open("rb") as file:
        file.seek(part.offset_bytes)
        for _ in range(part.items):
            try:
                yield _ITEM.validate_json(file.readline())
            except ValidationError as error:
                raise TokensError(f"{path} holds a line that is no item: {error}") from error
