"""`grove tokenize` and `grove tokens`: a corpus to tokens, and what can be done with them."""

# ruff: noqa: PLC0415 - what a command needs is imported when it runs

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from grove.codec.cli.report import EXIT_DAMAGED, EXIT_DONE, EXIT_REFUSED, emit, log
from grove.codec.errors import CodecError

if TYPE_CHECKING:
    from grove.codec.tokens.run import Request, Share

tokens_app = typer.Typer(
    name="tokens", help="Check, count, decode, convert and merge tokens.", no_args_is_help=True
)

Folder = Annotated[Path, typer.Argument(help="A folder that grove tokenize wrote.")]


def _folder_here(out: Path) -> Path:
    from grove.codec.tokens.stores import refuse_remote

    return refuse_remote(out)


Out = Annotated[Path, typer.Option("--out", help="The folder to write.", callback=_folder_here)]
Model = Annotated[
    str | None, typer.Option("--model", help="A bundle: a folder, a name, or name-version.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")]
FormatName = Literal["parquet", "webdataset", "npy", "safetensors", "kaldi", "shar", "jsonl", "grv"]


def tokenize(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT...",
            help="Audio files, folders, patterns, tars, lists (txt, csv, tsv, jsonl, scp, parquet),"
            " URLs; - reads paths from stdin.",
        ),
    ] = None,
    *,
    out: Out,
    format: Annotated[FormatName, typer.Option(help="What shards are.")] = "parquet",  # noqa: A002
    levels: Annotated[int | None, typer.Option(help="Levels to keep; all if not given.")] = None,
    model: Model = None,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="Where it runs.")] = "local",
    workers: Annotated[int, typer.Option(min=1, help="Processes, or Ray tasks, at once.")] = 1,
    items_per_shard: Annotated[int, typer.Option(min=1, help="Sources in a shard.")] = 512,
    row_seconds: Annotated[
        float, typer.Option(min=1, help="Longer audio becomes several rows.")
    ] = 3600,
    level_gate: Annotated[
        bool, typer.Option("--level-gate", help="Keep only what is above -45 dBFS, a row each.")
    ] = False,
    canonical: Annotated[
        bool,
        typer.Option(
            "--canonical", help="The same codes on every processor and runtime; a little slower."
        ),
    ] = False,
    rank: Annotated[
        int | None, typer.Option(help="Which of the runs this is; from SLURM or torchrun.")
    ] = None,
    world: Annotated[int | None, typer.Option(help="How many runs share the work.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what is in the folder.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count the work.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """A corpus to tokens for language models, in shards with a manifest and a ledger."""
    from grove.codec.bundle import load_bundle
    from grove.codec.tokens.records import LevelGateConfig, TokenizeSettings
    from grove.codec.tokens.run import Request

    bundle = load_bundle(model)
    settings = TokenizeSettings(
        format=format,
        levels=bundle.spec.levels if levels is None else levels,
        items_per_shard=items_per_shard,
        row_seconds=row_seconds,
        level_gate=LevelGateConfig() if level_gate else None,
        canonical=canonical,
    )
    request = Request(
        inputs=tuple(inputs or ()),
        out=out,
        bundle=bundle,
        settings=settings,
        engine=engine,
        workers=workers,
        share=_share(rank, world),
        resume=resume,
        quiet=quiet,
    )
    return _count_only(request) if dry_run else _tokenized(request, quiet, as_json)


@tokens_app.command()
def verify(folder: Folder) -> int:
    """Read everything: hashes, counts, and every code against its book."""
    from grove.codec.tokens.reading import TokenFolder
    from grove.codec.tokens.verify import problems_of

    found = 0
    for problem in problems_of(TokenFolder(folder)):
        found += 1
        log(f"error: {problem}")
    emit(f"{folder}: {found} problems" if found else f"{folder}: intact")
    return EXIT_REFUSED if found else EXIT_DONE


@tokens_app.command()
def stats(
    folder: Folder,
    *,
    plot: Annotated[Path | None, typer.Option(help="Draw the use of the books here.")] = None,
    as_json: Json = False,
) -> int:
    """Use, entropy and dead codes of each book."""
    from grove.codec.tokens.reading import TokenFolder
    from grove.codec.tokens.stats import count_codes
    from grove.codec.tokens.stats import plot as draw

    figures, counts = count_codes(TokenFolder(folder))
    if plot is not None:
        draw(counts, figures, plot)
    if as_json:
        emit(figures.model_dump_json())
        return EXIT_DONE
    emit(
        f"{figures.rows} rows ({figures.failed_rows} with errors), {figures.frames} frames, "
        f"{figures.hours:.3f} h"
    )
    emit("book   size   used   dead  entropy  of most  perplexity  most used")
    for book in figures.books:
        emit(
            f"{book.book:4d} {book.size:6d} {book.used:6d} {book.dead:6d} "
            f"{book.entropy_bits:8.3f} {book.entropy:8.1%} {book.perplexity:11.1f} "
            f"{book.top_code:6d} {book.top_share:.2%} {'#' * round(20 * book.entropy)}"
        )
    return EXIT_DONE


@tokens_app.command()
def decode(
    folder: Folder,
    *,
    out: Out,
    row: Annotated[list[str] | None, typer.Option("--id", help="Only these sources.")] = None,
    levels: Annotated[int | None, typer.Option(min=1, help="Use at most so many levels.")] = None,
    model: Model = None,
) -> int:
    """Rows back to WAV files."""
    from grove.codec.bundle import load_bundle, shipped_maker
    from grove.codec.runtime import Codec
    from grove.codec.tokens.decode import decode_rows
    from grove.codec.tokens.reading import TokenFolder

    tokens = TokenFolder(folder)
    maker = shipped_maker(tokens.run.card.codec.model_sha256) if model is None else None
    codec = Codec(load_bundle(maker or model))
    for path in decode_rows(tokens, codec, out, frozenset(row or ()), levels):
        emit(str(path))
    return EXIT_DONE


@tokens_app.command()
def convert(
    folder: Folder,
    *,
    out: Out,
    format: Annotated[FormatName, typer.Option(help="What shards become.")],  # noqa: A002
) -> int:
    """The same rows in another format; the bytes are those of tokenizing to it at once."""
    from grove.codec.tokens.reading import TokenFolder
    from grove.codec.tokens.rewrite import rewrite

    manifest = rewrite([TokenFolder(folder)], out, format)
    log(f"{out}: {manifest.rows} rows in {manifest.shards} shards")
    return EXIT_DONE


@tokens_app.command()
def merge(
    folders: Annotated[list[Path], typer.Argument(help="Folders that grove tokenize wrote.")],
    *,
    out: Out,
    shards_per_shard: Annotated[
        int, typer.Option(min=1, help="How many old shards make a new one.")
    ] = 1,
) -> int:
    """Several folders of one codec to one, in the first one's format."""
    from grove.codec.tokens.reading import TokenFolder
    from grove.codec.tokens.rewrite import rewrite

    opened = [TokenFolder(folder) for folder in folders]
    manifest = rewrite(opened, out, opened[0].run.settings.format, shards_per_shard)
    log(f"{out}: {manifest.rows} rows in {manifest.shards} shards")
    return EXIT_DONE


@tokens_app.command()
def triton(
    model: Annotated[str | None, typer.Argument(help="A bundle; the default one if none.")] = None,
    *,
    out: Out,
) -> int:
    """Write a Triton model repository: encoder and decoder, their memory kept by the server."""
    from grove.codec.bundle import load_bundle
    from grove.tools.triton import write_repository

    for path in write_repository(load_bundle(model), out):
        emit(str(path))
    return EXIT_DONE


def _count_only(request: "Request") -> int:
    from grove.codec.tokens.run import plan_only

    outlook = plan_only(request)
    emit(f"{outlook.items} sources, {outlook.shards} shards, {outlook.shards_here} of them here")
    return EXIT_DONE


def _tokenized(request: "Request", quiet: bool, as_json: bool) -> int:
    from grove.codec.cli.tokens_progress import ProgressLine
    from grove.codec.tokens.run import tokenize as run

    with ProgressLine(request.bundle.spec, is_shown=not quiet) as progress:
        manifest = run(request, progress)
    if as_json and manifest is not None:
        emit(manifest.model_dump_json())
    elif not quiet:
        log(progress.summary(manifest))
    return EXIT_DAMAGED if progress.errors else EXIT_DONE


def _share(rank: int | None, world: int | None) -> "Share":
    from grove.codec.tokens.run import Share

    if rank is not None or world is not None:
        if rank is None or world is None:
            raise CodecError("--rank and --world belong together, got one of them")
        return Share(rank, world)
    variables = os.environ
    if "RANK" in variables and "WORLD_SIZE" in variables:
        return Share(_number("RANK"), _number("WORLD_SIZE"))
    if "SLURM_ARRAY_TASK_ID" in variables and "SLURM_ARRAY_TASK_COUNT" in variables:
        first = _number("SLURM_ARRAY_TASK_MIN") if "SLURM_ARRAY_TASK_MIN" in variables else 0
        step = _number("SLURM_ARRAY_TASK_STEP") if "SLURM_ARRAY_TASK_STEP" in variables else 1
        index = (_number("SLURM_ARRAY_TASK_ID") - first) // step
        return Share(index, _number("SLURM_ARRAY_TASK_COUNT"))
    if "SLURM_PROCID" in variables and "SLURM_NTASKS" in variables:
        return Share(_number("SLURM_PROCID"), _number("SLURM_NTASKS"))
    return Share()


def _number(variable: str) -> int:
    text = os.environ[variable]
    if not text.isdigit():
        raise CodecError(f"{variable} is {text!r}, expected a number")
    return int(text)
