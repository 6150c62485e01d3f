"""`grove encode`, `decode` and `transcode`: what they do with every file."""

import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import assert_never

from grove.codec.atomic import OutputClosedError, OutputError
from grove.codec.bundle import load_bundle, shipped_maker
from grove.codec.cli.pipes import (
    audio_in,
    audio_out,
    audio_output,
    container_in,
    container_out,
    hint_of,
    refuse_audio_name,
)
from grove.codec.cli.progress import counted, progress
from grove.codec.cli.report import (
    EXIT_DAMAGED,
    EXIT_DONE,
    EXIT_REFUSED,
    Failure,
    FileReport,
    FilesDocument,
    emit,
    file_failure,
    log,
    say_damage,
    say_failure,
)
from grove.codec.cli.selection import Selection, Task, UsageError
from grove.codec.container.assembler import SegmentEnd
from grove.codec.container.decode import decode_container, output_samples, transcode_audio
from grove.codec.container.encode import AudioEncoder, encode_audio
from grove.codec.container.file import ContainerFile, ContainerReader
from grove.codec.errors import CodecError
from grove.codec.runtime import Codec
from grove.codec.sound.source import AudioSource
from grove.codec.stream import check_levels


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What every command about files takes."""

    model: str | None = None
    threads: int = 1
    force: bool = False
    as_json: bool = False
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Encode:
    """Audio to tokens; no levels means all that the model has."""

    levels: int | None = None
    stereo: bool = False
    allow_truncated: bool = False


@dataclass(frozen=True, slots=True)
class Decode:
    """Tokens to audio; what is None follows from the file and the output's name."""

    levels: int | None = None
    rate_hz: int | None = None
    format: str | None = None


@dataclass(frozen=True, slots=True)
class Transcode:
    """Audio to what it sounds like after coding."""

    encode: Encode
    rate_hz: int | None = None
    format: str | None = None


Work = Encode | Decode | Transcode


def run_files(selection: Selection, work: Work, options: RunOptions) -> int:
    """Do the work with each file, and go on behind one that is refused; return the exit code."""
    tasks = selection.tasks()
    if options.as_json and any(task.target is None for task in tasks):
        raise UsageError(
            "the report and the output cannot both go to stdout",
            hint="name an output file, or leave out --json",
        )
    codec = open_codec(options.model, options.threads)
    reports: list[FileReport] = []
    failures: list[Failure] = []
    for task in tasks:
        match _outcome(codec, task, work, options):
            case FileReport() as report:
                reports.append(report)
            case Failure() as failure:
                failures.append(failure)
    if options.as_json:
        emit(FilesDocument(tuple(reports), tuple(failures)).to_json())
    if failures:
        return EXIT_REFUSED
    return EXIT_DAMAGED if any(report.is_damaged for report in reports) else EXIT_DONE


def open_codec(model: str | None, threads: int = 1) -> Codec:
    return Codec(load_bundle(model), threads)


def maker_of(model_sha256: str, codec: Codec, options: RunOptions) -> Codec:
    """Return what decodes these tokens: `codec`, or where nobody named it, a shipped model."""
    if options.model is not None or model_sha256 == codec.spec.model_sha256:
        return codec
    shipped = shipped_maker(model_sha256)
    return _shipped(shipped, options.threads) if shipped else codec


@lru_cache(maxsize=4)
def _shipped(path: Path, threads: int) -> Codec:
    return Codec(load_bundle(path), threads)


def _outcome(codec: Codec, task: Task, work: Work, options: RunOptions) -> FileReport | Failure:
    """Do the work of one file and tell of it."""
    try:
        report = _worked(codec, task, work, options)
    except OutputClosedError:
        raise
    except CodecError as error:
        failure = file_failure(error, task.source_name, hint_of(error))
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"{task.source_name} to {task.target_name}: {reason}"
        failure = Failure(message, input=task.source_name)
    else:
        _say(report, options)
        return report
    if not options.as_json:
        say_failure(failure)
    return failure


def _say(report: FileReport, options: RunOptions) -> None:
    if options.as_json:
        return
    say_damage(report)
    if sys.stderr.isatty() and not options.quiet:
        log(report.summary)


def _worked(codec: Codec, task: Task, work: Work, options: RunOptions) -> FileReport:
    match work:
        case Encode():
            return _encode(codec, task, work, options)
        case Decode():
            return _decode(codec, task, work, options)
        case Transcode():
            return _transcode(codec, task, work, options)
        case _:
            assert_never(work)


def _encode(codec: Codec, task: Task, work: Encode, options: RunOptions) -> FileReport:
    refuse_audio_name(task)
    levels = _levels(codec, work.levels)
    with audio_in(task, work.allow_truncated) as source:
        encoder = AudioEncoder(codec, source, stereo=work.stereo)
        _make_folder(task)
        with (
            container_out(task, options.force) as out,
            progress(task.source_name, source.declared_samples, not options.quiet) as advance,
        ):
            length = encode_audio(encoder, source, counted(source, advance), out, levels)
        return FileReport(
            input=task.source_name,
            output=task.target_name,
            frames=length.frames,
            samples=length.source_samples,
            sample_rate_hz=source.sample_rate_hz,
            channels=encoder.streams,
            output_bytes=_size(task),
            damage=_shortfall(source),
        )


def _decode(codec: Codec, task: Task, work: Decode, options: RunOptions) -> FileReport:
    output = audio_output(task, work.format)
    with container_in(task) as container:
        channels = container.header.channels
        rate_hz = work.rate_hz or container.header.source_sample_rate_hz
        codec = maker_of(container.header.codec.model_sha256, codec, options)
        blocks = decode_container(codec, container, rate_hz, work.levels)
        samples = _samples_of(container, rate_hz)
        _make_folder(task)
        with (
            audio_out(
                task, output, rate_hz, channels, force=options.force, samples=samples
            ) as writer,
            progress(task.source_name, samples, not options.quiet) as advance,
        ):
            for block in counted(blocks, advance):
                writer.write(block)
        return FileReport(
            input=task.source_name,
            output=task.target_name,
            frames=None,
            samples=writer.samples_written,
            sample_rate_hz=rate_hz,
            channels=channels,
            output_bytes=_size(task),
            damage=tuple(str(damage) for damage in container.damage),
            omitted_damage_count=container.omitted_damage_count,
        )


def _transcode(codec: Codec, task: Task, work: Transcode, options: RunOptions) -> FileReport:
    output = audio_output(task, work.format)
    levels = _levels(codec, work.encode.levels)
    with audio_in(task, work.encode.allow_truncated) as source:
        encoder = AudioEncoder(codec, source, stereo=work.encode.stereo)
        rate_hz = work.rate_hz or source.sample_rate_hz
        _make_folder(task)
        with (
            audio_out(task, output, rate_hz, encoder.streams, force=options.force) as writer,
            progress(task.source_name, source.declared_samples, not options.quiet) as advance,
        ):
            blocks = counted(source, advance)
            for block in transcode_audio(encoder, blocks, source.sample_rate_hz, levels, rate_hz):
                writer.write(block)
        return FileReport(
            input=task.source_name,
            output=task.target_name,
            frames=encoder.length.frames,
            samples=writer.samples_written,
            sample_rate_hz=rate_hz,
            channels=encoder.streams,
            output_bytes=_size(task),
            damage=_shortfall(source),
        )


def _levels(codec: Codec, levels: int | None) -> int:
    wanted = codec.spec.levels if levels is None else levels
    check_levels(codec.spec, wanted)
    return wanted


def _make_folder(task: Task) -> None:
    """Make the folders below --out that a file goes into, once there is something to put there."""
    if task.target is None or not task.makes_folder:
        return
    try:
        task.target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{task.target.parent}: cannot be made: {error.strerror}") from error


def _samples_of(container: ContainerReader | ContainerFile, rate_hz: int) -> int | None:
    """Return how many samples decoding will give; None where only the end of a pipe tells.

    It takes a pass over the file, a small part of the work to come, since damage may have changed
    what the index says. What it is for: a header that cannot be gone back to, or is too small.
    """
    if isinstance(container, ContainerReader):
        return None
    ends = (event for event in container.events() if isinstance(event, SegmentEnd))
    return sum(output_samples(container.header, end.segment, rate_hz) for end in ends)


def _shortfall(source: AudioSource) -> tuple[str, ...]:
    return () if source.shortfall is None else (f"is truncated: {source.shortfall}",)


def _size(task: Task) -> int | None:
    if task.target is None or not task.target.is_file():
        return None
    return task.target.stat().st_size
