"""`grove tokenize`: plan, run what is not there yet, and sum up."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, assert_never

from pydantic import BaseModel, ValidationError

from grove.codec.atomic import OutputError, atomic_file
from grove.codec.bundle import Bundle
from grove.codec.stream import check_levels
from grove.codec.tokens.engine_local import run_local
from grove.codec.tokens.engine_ray import run_ray
from grove.codec.tokens.inputs import STANDARD, list_items
from grove.codec.tokens.plan import PLAN, Plan, count_shards, plan_sha256, read_plan, write_plan
from grove.codec.tokens.records import (
    CodecCard,
    FileEntry,
    Manifest,
    Row,
    RunFile,
    ShardRecord,
    TokenizeSettings,
    TokensError,
)
from grove.codec.tokens.shards import ShardTask, is_present, read_record, remove_parts
from grove.codec.tokens.stores import absolute, is_remote

RUN = "run.json"
MANIFEST = "manifest.json"
LEDGER = "ledger.jsonl"


@dataclass(frozen=True, slots=True)
class Share:
    """Which of several equal runs this one is: it makes every `world`-th shard."""

    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise TokensError(f"rank is {self.rank} of {self.world}, expected 0 to world - 1")


@dataclass(frozen=True, slots=True)
class Request:
    """A run of `grove tokenize`."""

    inputs: Sequence[str]
    out: Path
    bundle: Bundle
    settings: TokenizeSettings
    engine: Literal["local", "ray"] = "local"
    workers: int = 1
    share: Share = field(default_factory=Share)
    resume: bool = False
    quiet: bool = False
    """Also what an engine says by itself."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What lies ahead, known before the first source is opened."""

    items: int
    shards: int
    shards_here: int
    shards_done: int
    """Of those here, from an earlier run."""


class Watcher:
    """Told of what happens; does nothing by itself."""

    def begin(self, outlook: Outlook) -> None:
        """The plan is made."""

    def row(self, row: Row) -> None:
        """A row was made in this process."""

    def shard(self, record: ShardRecord) -> None:
        """A shard is finished, here or elsewhere."""


def tokenize(request: Request, watcher: Watcher | None = None) -> Manifest | None:
    """Make all shards of our share; return the manifest if with them all shards are there."""
    watcher = watcher or Watcher()
    run, plan = _begin(request)
    numbers = range(request.share.rank, len(plan.slices), request.share.world)
    pending = [number for number in numbers if not _is_done(request.out, number)]
    watcher.begin(Outlook(plan.items, len(plan.slices), len(numbers), len(numbers) - len(pending)))
    tasks = [_task(request, run, plan, number) for number in pending]
    for record in _engine(request)(tasks, watcher.row):
        watcher.shard(record)
    return finish(request.out, run)


def plan_only(request: Request) -> Outlook:
    """Count what a run would do, without writing anything."""
    items, shards = count_shards(list_items(request.inputs), request.settings.items_per_shard)
    here = len(range(request.share.rank, shards, request.share.world))
    return Outlook(items, shards, here, 0)


def finish(out: Path, run: RunFile) -> Manifest | None:
    """Write ledger and manifest once every shard is there; all ranks write the same bytes."""
    totals, errors, digest = _Totals(), 0, hashlib.sha256()
    files: list[FileEntry] = []
    if any(read_record(out, number) is None for number in range(run.shards)):
        return None
    with atomic_file(out / LEDGER, overwrite=True) as ledger:
        for record in _records(out, run):
            totals.add(record)
            files.extend(record.files)
            errors += len(record.ledger)
            for entry in record.ledger:
                line = entry.model_dump_json().encode() + b"\n"
                digest.update(line)
                ledger.write(line)
    manifest = Manifest(
        card=run.card,
        settings=run.settings,
        shards=run.shards,
        rows=totals.rows,
        frames=totals.frames,
        samples=totals.samples,
        seconds=totals.samples / run.card.codec.sample_rate_hz,
        errors=errors,
        ledger_sha256=digest.hexdigest(),
        files=tuple(files),
    )
    write_json(out / MANIFEST, manifest)
    return manifest


@dataclass(slots=True)
class _Totals:
    rows: int = 0
    frames: int = 0
    samples: int = 0

    def add(self, record: ShardRecord) -> None:
        self.rows += record.rows
        self.frames += record.frames
        self.samples += record.samples


def _records(out: Path, run: RunFile) -> Iterator[ShardRecord]:
    for number in range(run.shards):
        record = read_record(out, number)
        assert record is not None, f"shard {number} was there"
        yield record


def _begin(request: Request) -> tuple[RunFile, Plan]:
    """Freeze plan and settings, or take up those of an earlier run."""
    out, share = request.out, request.share
    check_levels(request.bundle.spec, request.settings.levels)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be made: {error.strerror}") from error
    if share.world == 1:  # else another rank may be writing them now
        remove_parts(out, (PLAN, RUN, LEDGER, MANIFEST))
    card = CodecCard.of(request.bundle, request.settings.levels, request.settings.canonical)
    if (out / RUN).is_file():
        if not request.resume and share.world == 1:
            raise TokensError(
                f"{out} holds a run already", hint="go on with --resume, or choose another folder"
            )
        run = read_run(out)
        _refuse_other(run, card, request.settings, out)
        _refuse_other_inputs(run, request)
    else:
        if request.inputs or not (out / PLAN).is_file():
            alone = share.world == 1 and not request.resume
            write_plan(out, list_items(request.inputs), overwrite=alone)
        plan = read_plan(out, request.settings.items_per_shard)
        run = RunFile(
            card=card,
            settings=request.settings,
            inputs=recorded(request.inputs),
            plan_sha256=plan.sha256,
            shards=len(plan.slices),
        )
        write_json(out / RUN, run)
    plan = read_plan(out, run.settings.items_per_shard)
    if plan.sha256 != run.plan_sha256:
        raise TokensError(f"{out / PLAN} was changed since the run began")
    return run, plan


def _refuse_other(run: RunFile, card: CodecCard, settings: TokenizeSettings, out: Path) -> None:
    if run.card != card:
        raise TokensError(
            f"{out} was begun with {_shown(run.card)}, this run has {_shown(card)}",
            hint="name the same model and levels, on the same runtime and kind of processor "
            "(or tokenize with --canonical), or choose another folder",
        )
    for name in TokenizeSettings.model_fields:
        before, now = getattr(run.settings, name), getattr(settings, name)
        if before != now:
            raise TokensError(f"{out} was begun with {name} {before}, this run has {now}")


def _refuse_other_inputs(run: RunFile, request: Request) -> None:
    """Refuse to take up the plan of other inputs; those that are not named are the plan's."""
    if not request.inputs or not run.inputs:
        return
    before, now = set(run.inputs), set(recorded(request.inputs))
    other = sorted(now - before) or sorted(before - now)
    is_same = not other
    if STANDARD in now & before:
        listed = plan_sha256(list_items(request.inputs))
        other, is_same = [STANDARD], listed == run.plan_sha256
    if not is_same:
        raise TokensError(
            f"{request.out} was begun with other inputs, which do not agree in {other[0]}",
            hint="name no input to go on with the plan, or choose another folder",
        )


def recorded(inputs: Sequence[str]) -> tuple[str, ...]:
    """Return inputs as they are the same from every working folder."""
    return tuple(
        name if name == STANDARD or is_remote(name) else absolute(Path(name)) for name in inputs
    )


def _shown(card: CodecCard) -> str:
    return (
        f"{card.codec.name} {card.codec.version} (model {card.codec.model_sha256[:12]}), "
        f"levels {card.levels}, {card.resampler}, {card.arithmetic}"
    )


def read_run(folder: Path) -> RunFile:
    """Return what a folder of tokens was asked to be."""
    try:
        return RunFile.model_validate_json((folder / RUN).read_bytes())
    except OSError as error:
        raise TokensError(
            f"{folder} holds no tokens: {error.strerror}, expected a {RUN}",
            hint="name a folder that grove tokenize wrote",
        ) from error
    except ValidationError as error:
        raise TokensError(f"{folder / RUN} is damaged: {error.errors()[0]['msg']}") from error


def write_json(path: Path, document: BaseModel) -> None:
    with atomic_file(path, overwrite=True) as file:
        file.write(document.model_dump_json(indent=1).encode() + b"\n")


def _is_done(out: Path, number: int) -> bool:
    record = read_record(out, number)
    return record is not None and is_present(out, record)


def _task(request: Request, run: RunFile, plan: Plan, number: int) -> ShardTask:
    part = plan.slices[number]
    return ShardTask(
        folder=request.out.absolute(),
        model=request.bundle.path.absolute(),
        run=run,
        number=number,
        offset_bytes=part.offset_bytes,
        items=part.items,
    )


Engine = Callable[[Sequence[ShardTask], Callable[[Row], None]], Iterator[ShardRecord]]


def _engine(request: Request) -> Engine:
    match request.engine:
        case "local":
            return lambda tasks, watch: run_local(tasks, request.workers, watch)
        case "ray":
            return lambda tasks, _: run_ray(tasks, request.workers, request.quiet)
        case _:
            assert_never(request.engine)
