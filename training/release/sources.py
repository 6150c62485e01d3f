"""What a released model was trained on: sources, hours and licences, for its card."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from grove.training.data.manifest import DataError, Entry, list_audio


@dataclass(frozen=True, slots=True)
class Source:
    """All recordings of one source, kind and licence."""

    name: str
    kind: str
    licence: str
    files: int
    hours: float


def list_sources(manifest: Path, shards: Sequence[str]) -> tuple[Source, ...]:
    """Return the sources of a manifest's shards whose names match, the largest first."""
    groups: dict[tuple[str, str, str], list[Entry]] = {}
    for shard in list_audio(manifest, shards).shards:
        for entry in shard.entries or ():
            groups.setdefault((entry.source, entry.kind, entry.licence), []).append(entry)
    if not groups:
        raise DataError(f"{manifest} names no recordings, expected a manifest with their sources")
    found = [
        Source(name, kind, licence, len(entries), sum(entry.seconds for entry in entries) / 3600)
        for (name, kind, licence), entries in groups.items()
    ]
    return tuple(sorted(found, key=lambda source: -source.hours))


def sources_section(sources: Sequence[Source], held_out: float) -> str:
    """Return the part of a model card that names them."""
    hours = sum(source.hours for source in sources)
    rows = "\n".join(
        f"| {s.name} | {s.kind} | {s.files} | {s.hours:.2f} | {s.licence or 'not stated'} |"
        for s in sources
    )
    return f"""### Audio

{hours:.2f} hours, {held_out:.0%} of them held out for validation.

| source | kind | files | hours | licence |
|---|---|---|---|---|
{rows}
"""
