"""`grove encode`, `decode` and `transcode`: what they do with every file."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import assert_never

from grove.codec.bundle import load_bundle, shipped_maker
from grove.codec.cli.batch import RunOptions, make_folder, run_tasks, tasks_of
from grove.codec.cli.pipes import (
    audio_in,
    audio_out,
    audio_output,
    container_in,
    container_out,
    refuse_audio_name,
)
from grove.codec.cli.progress import counted, progress
from grove.codec.cli.report import FileReport, output_bytes
from grove.codec.cli.selection import Selection, Task
from grove.codec.container.assembler import SegmentEnd
from grove.codec.container.decode import decode_container, output_samples, transcode_audio
from grove.codec.container.encode import AudioEncoder, encode_audio
from grove.codec.container.file import ContainerFile, ContainerReader
from grove.codec.runtime import Codec
from grove.codec.sound.source import AudioSource
from grove.codec.stream import check_levels


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecOptions(RunOptions):
    """What the commands take that run the model."""

    model: str | None = None
    threads: int = 1


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


def run_files(selection: Selection, work: Work, options: CodecOptions) -> int:
    """Do the work with each file; return the exit code."""
    tasks = tasks_of(selection, options)
    codec = open_codec(options.model, options.threads)
    return run_tasks(tasks, options, lambda task: _worked(codec, task, work, options))


def open_codec(model: str | None, threads: int = 1) -> Codec:
    return Codec(load_bundle(model), threads)


def maker_of(model_sha256: str, codec: Codec, options: CodecOptions) -> Codec:
    """Return what decodes these tokens: `codec`, or where nobody named it, a shipped model."""
    if options.model is not None or model_sha256 == codec.spec.model_sha256:
        return codec
    shipped = shipped_maker(model_sha256)
    return _shipped(shipped, options.threads) if shipped else codec


@lru_cache(maxsize=4)
def _shipped(path: Path, threads: int) -> Codec:
    return Codec(load_bundle(path), threads)


def _worked(codec: Codec, task: Task, work: Work, options: CodecOptions) -> FileReport:
    match work:
        case Encode():
            return _encode(codec, task, work, options)
        case Decode():
            return _decode(codec, task, work, options)
        case Transcode():
            return _transcode(codec, task, work, options)
        case _:
            assert_never(work)


def _encode(codec: Codec, task: Task, work: Encode, options: CodecOptions) -> FileReport:
    refuse_audio_name(task)
    levels = _levels(codec, work.levels)
    with audio_in(task, work.allow_truncated) as source:
        encoder = AudioEncoder(codec, source, stereo=work.stereo)
        make_folder(task)
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
            output_bytes=output_bytes(task),
            damage=_shortfall(source),
        )


def _decode(codec: Codec, task: Task, work: Decode, options: CodecOptions) -> FileReport:
    output = audio_output(task, work.format)
    with container_in(task) as container:
        channels = container.header.channels
        rate_hz = work.rate_hz or container.header.source_sample_rate_hz
        codec = maker_of(container.header.codec.model_sha256, codec, options)
        blocks = decode_container(codec, container, rate_hz, work.levels)
        samples = _samples_of(container, rate_hz)
        make_folder(task)
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
            output_bytes=output_bytes(task),
            damage=tuple(str(damage) for damage in container.damage),
            omitted_damage_count=container.omitted_damage_count,
        )


def _transcode(codec: Codec, task: Task, work: Transcode, options: CodecOptions) -> FileReport:
    output = audio_output(task, work.format)
    levels = _levels(codec, work.encode.levels)
    with audio_in(task, work.encode.allow_truncated) as source:
        encoder = AudioEncoder(codec, source, stereo=work.encode.stereo)
        rate_hz = work.rate_hz or source.sample_rate_hz
        make_folder(task)
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
            output_bytes=output_bytes(task),
            damage=_shortfall(source),
        )


def _levels(codec: Codec, levels: int | None) -> int:
    wanted = codec.spec.levels if levels is None else levels
    check_levels(codec.spec, wanted)
    return wanted


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
