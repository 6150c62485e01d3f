"""`grove train`, `export` and `evaluate`: the extras that they need are imported when they run."""

# ruff: noqa: PLC0415

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from grove.codec.cli.report import EXIT_DONE, emit
from grove.codec.errors import CodecError

_LICENCE = "CC-BY-4.0"


class MissingExtraError(CodecError):
    """A package that only an extra installs."""


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe: what to train, and how.")],
    *,
    data: Annotated[Path, typer.Option(help="A folder of audio, or a CSV that lists it.")],
    out: Annotated[Path, typer.Option(help="The run's folder; a run found there goes on.")],
    cache: Annotated[Path, typer.Option(help="Where decoded audio is kept.")] = Path(".cache/data"),
    warm_start: Annotated[
        Path | None, typer.Option(help="Begin with the weights of this checkpoint.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Stop after this step; the schedule stays.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Lay the schedule over so much time.")
    ] = None,
) -> int:
    """Train a codec, or go on with a run."""
    with _needs_extra("train"):
        from grove.training.train import RunOptions
        from grove.training.train import train as run
    _log_to_stderr()
    run(recipe, RunOptions(data, out, cache, warm_start, steps, minutes))
    return EXIT_DONE


def export(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint of a run.")],
    out: Annotated[Path, typer.Argument(help="The bundle's folder, <name>-<version>.")],
    *,
    clips: Annotated[list[Path], typer.Option("--clip", help="Speech to prove the bundle on.")],
    description: Annotated[str, typer.Option(help="One line about the model.")],
    licence: Annotated[str, typer.Option(help="The licence of the weights.")] = _LICENCE,
    compatible: Annotated[
        list[str] | None, typer.Option(help="Hash of a model whose tokens this one decodes.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="The manifest trained on: the card names its sources.")
    ] = None,
) -> int:
    """Turn a checkpoint into a bundle that proves itself before it is kept."""
    name, dash, version = out.name.rpartition("-")
    if not dash or not name or not version[:1].isdigit():
        raise CodecError(f"{out}: expected a folder named <name>-<version>, such as mine-1.0.0")
    with _needs_extra("train"):
        from grove.training.release.export import ExportOptions
        from grove.training.release.export import export as run
    options = ExportOptions(
        checkpoint=checkpoint,
        out=out,
        name=name,
        version=version,
        licence=licence,
        description=description,
        clips=tuple(clips),
        compatible=tuple(compatible or ()),
        data=data,
    )
    proof = run(options)
    emit(
        f"{out}: {proof.equal_codes:.4%} of the codes of {proof.frames} frames equal torch's, "
        f"pcm within {proof.pcm_error:.1e}"
    )
    return EXIT_DONE


def evaluate(
    clips: Annotated[Path, typer.Argument(help="A folder of clips.")],
    out: Annotated[Path, typer.Argument(help="Where the report goes.")],
    *,
    model: Annotated[
        str | None, typer.Option("--model", help="A bundle: a folder, a name, or name-version.")
    ] = None,
    peers_only: Annotated[bool, typer.Option(help="Score the other codecs alone.")] = False,
    levels: Annotated[
        list[int] | None, typer.Option("--level", help="A level to score; all if not given.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many clips of each kind.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that score.")] = 1,
    card: Annotated[bool, typer.Option(help="Put the tables into the bundle's card.")] = False,
) -> int:
    """Score a codec beside the peers found here, with and without lost packets."""
    with _needs_extra("train"):
        from grove.codec.bundle import find_bundle
        from grove.training.evaluation.evaluate import run_evaluation
        from grove.training.release.card import put_evaluation
    _log_to_stderr()
    bundle = None if peers_only else find_bundle(model)
    evaluation = run_evaluation(
        bundle, clips, out, levels=tuple(levels or ()), limit=limit, workers=workers
    )
    if card and bundle is not None:
        put_evaluation(bundle, evaluation)
    emit(f"the report is in {out}")
    return EXIT_DONE


@contextmanager
def _needs_extra(extra: str) -> Iterator[None]:
    """Say how to install what is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "grove":
            raise
        raise MissingExtraError(
            f"this command needs {error.name}, which is not installed",
            hint=f"pip install 'grove-codec[{extra}]'",
        ) from error


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
