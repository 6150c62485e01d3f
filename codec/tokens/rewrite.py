"""`grove tokens convert` and `merge`: the same rows in another format, or in larger shards."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from grove.codec.tokens.reading import TokenFolder
from grove.codec.tokens.records import (
    Format,
    LedgerEntry,
    Manifest,
    Row,
    RunFile,
    TokensError,
    shard_stem,
)
from grove.codec.tokens.run import RUN, finish, write_json
from grove.codec.tokens.shard_files import open_shard
from grove.codec.tokens.shards import Tally


def rewrite(
    folders: Sequence[TokenFolder],
    out: Path,
    format: Format,  # noqa: A002 - the option's name
    shards_per_shard: int = 1,
) -> Manifest:
    """Write the rows of all folders to `out`; so many old shards become a new one."""
    first = folders[0].run
    for folder in folders[1:]:
        if folder.run.card != first.card:
            raise TokensError(
                f"{folder.path} has other codes than {folders[0].path}: "
                f"{_shown(folder.run)} against {_shown(first)}"
            )
    if (out / RUN).exists():
        raise TokensError(f"{out} holds tokens already", hint="choose another folder")
    old = [(folder, number) for folder in folders for number in range(folder.run.shards)]
    for folder, number in old:
        folder.record(number)
    groups = [old[at : at + shards_per_shard] for at in range(0, len(old), shards_per_shard)]
    settings = first.settings.model_copy(update={"format": format})
    out.mkdir(parents=True, exist_ok=True)
    inputs = tuple(chain.from_iterable(folder.run.inputs for folder in folders))
    changes = {"settings": settings, "inputs": inputs, "shards": len(groups)}
    run = first.model_copy(update=changes)
    for number, group in enumerate(groups):
        _write(out, run, number, group)
    write_json(out / RUN, run)
    manifest = finish(out, run)
    assert manifest is not None, "all shards were written"
    return manifest


def _write(out: Path, run: RunFile, number: int, group: list[tuple[TokenFolder, int]]) -> None:
    known: tuple[LedgerEntry, ...] = tuple(
        chain.from_iterable(folder.record(old).ledger for folder, old in group)
    )
    rows: Iterator[Row] = chain.from_iterable(folder.shard_rows(old) for folder, old in group)
    tally = Tally(number, known)
    settings = run.settings
    with open_shard(settings.format, out, shard_stem(number), run.card) as sink:
        for row in tally.counted(rows):
            sink.write(row)
    tally.record(out, settings.format)


def _shown(run: RunFile) -> str:
    codec = run.card.codec
    return (
        f"{codec.name} {codec.version} ({codec.model_sha256[:12]}) at level {run.card.levels}, "
        f"{run.card.resampler}, {run.card.arithmetic}"
    )
