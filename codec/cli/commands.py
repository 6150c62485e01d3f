"""`grove`: the commands. What a command needs is imported when it runs, so that help is instant."""

# ruff: noqa: PLC0415

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal

import typer

from grove import __version__
from grove.codec.atomic import OutputClosedError
from grove.codec.cli.clock import seconds_of
from grove.codec.cli.report import (
    EXIT_BROKEN_PIPE,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_REFUSED,
    Failure,
    Failures,
    emit,
    failure_of,
    log,
    say_failure,
)
from grove.codec.cli.selection import CONTAINER_SUFFIXES, Selection
from grove.codec.cli.tokens import tokenize, tokens_app
from grove.codec.cli.training import evaluate, export, train
from grove.codec.errors import CodecError
from grove.codec.sound.sniff import AUDIO_SUFFIXES

_EPILOG = (
    "Exit codes: 0 done; 2 refused, with one `error:` line and nothing written; 3 done, but the "
    "input was damaged; 130 interrupted."
)

_FROM_HELP = "Where to begin: 90, 1:30 or 0:01:30.5; the start if not given."
_TO_HELP = "Where to end; the end if not given, or if that comes sooner."

app = typer.Typer(
    name="grove",
    help="A neural audio codec: audio to tokens at 1 to 6 kbit/s, and back.",
    epilog=_EPILOG,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Paths = Annotated[
    list[str], typer.Argument(metavar="IN OUT", help="Files, or - for stdin and stdout.")
]
OutFolder = Annotated[
    Path | None,
    typer.Option("--out", help="Write here; then all names are inputs: files, globs, folders."),
]
Model = Annotated[
    str | None,
    typer.Option("--model", help="A bundle: a folder, a name, or name-version."),
]
Levels = Annotated[int | None, typer.Option(help="How many levels to code; all if not given.")]
Rate = Annotated[
    int | None, typer.Option("--rate", help="Sample rate to write; the original's if not given.")
]
Format = Annotated[
    Literal["wav", "flac", "ogg", "opus", "raw"] | None,
    typer.Option(help="What to write; by the output's name if not given."),
]
Stereo = Annotated[bool, typer.Option("--stereo", help="Code left and right as two streams.")]
Truncated = Annotated[
    bool, typer.Option("--allow-truncated", help="Use what is there of audio that is cut short.")
]
Threads = Annotated[int, typer.Option(min=1, max=64, help="Threads of one model step.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace files that exist.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, errors too.")]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        with _terminated_like_interrupted():
            result = app(arguments, prog_name="grove", standalone_mode=False)
        if result == EXIT_INTERRUPTED:  # typer has turned the exception into this
            log("interrupted")
        return result if isinstance(result, int) else EXIT_DONE
    except OutputClosedError:
        _silence_stdout()
        return EXIT_BROKEN_PIPE
    except CodecError as error:
        return _refused(failure_of(error), "--json" in arguments)
    except typer.TyperException as error:
        failure = Failure(error.format_message(), "grove --help lists what there is")
        return _refused(failure, "--json" in arguments)
    except (KeyboardInterrupt, typer.Abort):
        log("interrupted")
        return EXIT_INTERRUPTED


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        emit(f"grove {__version__}")
        raise typer.Exit(EXIT_DONE)


@app.command()
def encode(
    paths: Paths,
    *,
    out: OutFolder = None,
    levels: Levels = None,
    model: Model = None,
    stereo: Stereo = False,
    allow_truncated: Truncated = False,
    threads: Threads = 1,
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """Audio to tokens: WAV, FLAC, Ogg, MP3, AIFF, M4A or WebM to .grv."""
    from grove.codec.cli.files import CodecOptions, Encode, run_files

    return run_files(
        Selection(paths, out, AUDIO_SUFFIXES, ".grv"),
        Encode(levels, stereo, allow_truncated),
        CodecOptions(model=model, threads=threads, force=force, as_json=as_json, quiet=quiet),
    )


@app.command()
def decode(
    paths: Paths,
    *,
    out: OutFolder = None,
    levels: Annotated[
        int | None, typer.Option(help="Use at most so many levels of each frame.")
    ] = None,
    rate: Rate = None,
    format: Format = None,  # noqa: A002 - the option's name
    model: Model = None,
    threads: Threads = 1,
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """Tokens to audio: .grv to WAV, FLAC, Ogg or raw samples, as long as the original."""
    from grove.codec.cli.files import CodecOptions, Decode, run_files

    return run_files(
        Selection(paths, out, CONTAINER_SUFFIXES, f".{format or 'wav'}"),
        Decode(levels, rate, format),
        CodecOptions(model=model, threads=threads, force=force, as_json=as_json, quiet=quiet),
    )


@app.command()
def transcode(
    paths: Paths,
    *,
    out: OutFolder = None,
    levels: Levels = None,
    rate: Rate = None,
    format: Format = None,  # noqa: A002 - the option's name
    model: Model = None,
    stereo: Stereo = False,
    allow_truncated: Truncated = False,
    threads: Threads = 1,
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """Audio to audio through the codec: hear what a bitrate sounds like."""
    from grove.codec.cli.files import CodecOptions, Encode, Transcode, run_files

    return run_files(
        Selection(paths, out, AUDIO_SUFFIXES, f".{format or 'wav'}"),
        Transcode(Encode(levels, stereo, allow_truncated), rate, format),
        CodecOptions(model=model, threads=threads, force=force, as_json=as_json, quiet=quiet),
    )


@app.command()
def cut(
    paths: Paths,
    *,
    from_s: Annotated[
        float | None,
        typer.Option("--from", parser=seconds_of, metavar="TIME", help=_FROM_HELP),
    ] = None,
    to_s: Annotated[
        float | None, typer.Option("--to", parser=seconds_of, metavar="TIME", help=_TO_HELP)
    ] = None,
    levels: Annotated[
        int | None, typer.Option(min=1, help="Keep at most so many levels of each frame.")
    ] = None,
    out: OutFolder = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """A part of a .grv file, or fewer of its levels, without decoding: exact to the sample.

    Half a second before the part stays in the file for the decoder to begin on, unheard.
    """
    from grove.codec.cli.batch import RunOptions
    from grove.codec.cli.edit import Cut, run_cut

    return run_cut(
        Selection(paths, out, CONTAINER_SUFFIXES, ".grv"),
        Cut(from_s, to_s, levels),
        RunOptions(force=force, as_json=as_json, quiet=quiet),
    )


@app.command()
def join(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="IN… OUT", help="Files, the last to write; - for stdin and stdout."),
    ],
    *,
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """.grv files of one model one after another, without decoding."""
    from grove.codec.cli.batch import RunOptions
    from grove.codec.cli.edit import run_join

    return run_join(paths, RunOptions(force=force, as_json=as_json, quiet=quiet))


@app.command()
def info(name: Annotated[str, typer.Argument(metavar="FILE|BUNDLE")], as_json: Json = False) -> int:
    """What a container, a bundle or an audio file is; containers are read to the end."""
    from grove.codec.cli.info import run_info

    return run_info(name, as_json)


@app.command()
def bench(
    seconds: Annotated[float, typer.Option(min=0.2, max=600, help="Audio per measurement.")] = 10,
    model: Model = None,
    peers: Annotated[bool, typer.Option(help="Measure the other codecs found here too.")] = True,
    history: Annotated[
        Path | None, typer.Option(help="Append a line of JSON with the figures to this file.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Measure speed, latency and memory on this machine, beside the peers found here."""
    from grove.codec.cli.bench import run_bench

    return run_bench(model, seconds, with_peers=peers, as_json=as_json, history=history)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to bind.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes behind the one port.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A bundle to serve, the default one first.")
    ] = None,
) -> int:
    """Start the service; GROVE_* in the environment sets what is not given here."""
    from grove.codec.cli.serve import ServeOptions, run_serve

    return run_serve(ServeOptions(host, port, workers, tuple(model or ())))


app.command()(tokenize)
app.add_typer(tokens_app)
app.command()(train)
app.command()(export)
app.command()(evaluate)


def _refused(failure: Failure, as_json: bool) -> int:
    if as_json:
        emit(Failures((failure,)).to_json())
    else:
        say_failure(failure)
    return EXIT_REFUSED


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that half-written files go away."""
    before = signal.signal(signal.SIGTERM, _exit_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit_terminated(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's
    raise SystemExit(128 + number)


def _silence_stdout() -> None:
    """Keep the interpreter from complaining that its last flush found nobody."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
