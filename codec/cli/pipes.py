"""Where the file commands read and write: files, or the pipes at stdin and stdout."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

from grove.codec.atomic import OutputError, atomic_file, output_error
from grove.codec.cli.selection import Task, UsageError
from grove.codec.container.file import ContainerFile, ContainerReader
from grove.codec.container.records import MAGIC
from grove.codec.container.writer import ByteSink
from grove.codec.errors import (
    BitstreamError,
    CodecError,
    NotAudioError,
    TruncatedAudioError,
)
from grove.codec.sound.sniff import AUDIO_SUFFIXES
from grove.codec.sound.source import AudioSource, open_audio
from grove.codec.sound.writer import AudioOutput, AudioWriter, open_writer, output_for

_DEFAULT_FORMAT: Final = "wav"
_TRUNCATED_HINT: Final = "add --allow-truncated to use what is there"
_CONTAINER_HINT: Final = "it is a .grv container; `grove decode` makes audio of it"


def audio_in(task: Task, allow_truncated: bool) -> AudioSource:
    """Open the audio that a task reads."""
    source = sys.stdin.buffer if task.source is None else task.source
    return open_audio(source, allow_truncated=allow_truncated, name=task.source_name)


def hint_of(error: CodecError) -> str | None:
    """Say how in terms of our options, where the library can only say what."""
    match error:
        case TruncatedAudioError():
            return _TRUNCATED_HINT
        case NotAudioError() if error.head.startswith(MAGIC[:4]):
            return _CONTAINER_HINT
        case _:
            return error.hint


@contextmanager
def container_in(task: Task) -> Iterator[ContainerReader | ContainerFile]:
    """Open the container that a task reads; a pipe is read front to back."""
    if task.source is None:
        yield ContainerReader(_LivePipe(sys.stdin.buffer))
        return
    with _opened(task.source, task.source_name) as file:
        yield ContainerFile(file) if file.seekable() else ContainerReader(_LivePipe(file))


@contextmanager
def seekable_in(task: Task) -> Iterator[BinaryIO]:
    """Open the container that a task reads, to be read in any order; a pipe is kept first."""
    with ExitStack() as stack:
        if task.source is None:
            file: BinaryIO = sys.stdin.buffer
        else:
            file = stack.enter_context(_opened(task.source, task.source_name))
        if task.source is None or not file.seekable():
            kept = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(file, kept)
            file = kept
        yield file


def _opened(source: Path, name: str) -> BinaryIO:
    try:
        return source.open("rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BitstreamError(f"{name}: cannot be opened: {reason}, expected a .grv file") from error


@contextmanager
def container_out(task: Task, force: bool) -> Iterator[ByteSink]:
    """Open what a task writes tokens to; a file appears only once it is complete."""
    if task.target is None:
        try:
            yield _LiveOutput(sys.stdout.buffer)
        except BrokenPipeError as error:
            raise output_error(task.target_name, error) from error
        return
    refuse_existing(task, force)
    with atomic_file(task.target, force) as file:
        yield file


@contextmanager
def audio_out(
    task: Task,
    output: AudioOutput,
    rate_hz: int,
    channels: int,
    *,
    force: bool,
    samples: int | None = None,
) -> Iterator[AudioWriter]:
    """Open what a task writes audio to; a file appears only once it is complete.

    `samples`, where known, is what the header will say.
    """
    if task.target is None:
        target: Path | BinaryIO = cast(BinaryIO, _LiveOutput(sys.stdout.buffer))
    else:
        refuse_existing(task, force)
        target = task.target
    with open_writer(target, output, rate_hz, channels, samples=samples, overwrite=force) as writer:
        yield writer


def audio_output(task: Task, file_format: str | None) -> AudioOutput:
    """Return what to write: as told, or as the output's name says, or WAV into a pipe."""
    if file_format is not None or task.target is None:
        return output_for(Path(f"audio.{file_format or _DEFAULT_FORMAT}"))
    return output_for(task.target)


def refuse_existing(task: Task, force: bool) -> None:
    """Say it in terms of our options, and before the work instead of after."""
    if not force and task.target is not None and task.target.is_file():
        raise OutputError(f"{task.target}: exists already", hint="add --force to replace it")


def refuse_audio_name(task: Task) -> None:
    """Refuse tokens under the name of audio: `grove encode *.wav` with two is an accident."""
    if task.target is not None and task.target.suffix.lower() in AUDIO_SUFFIXES:
        raise UsageError(
            f"{task.target_name}: has the name of an audio file, expected one such as out.grv",
            hint="name a folder with --out to write several files",
        )


class _LivePipe:
    """Hands over what has arrived, where `read` would wait until a block is full."""

    def __init__(self, file: BinaryIO) -> None:
        self._read: Callable[[int], bytes] = getattr(file, "read1", file.read)

    def read(self, size: int, /) -> bytes:
        return self._read(size)


class _LiveOutput:
    """Standard output that keeps nothing back, so that the other end of the pipe hears it now."""

    name = "<stdout>"

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: bytes, /) -> int:
        self._file.write(data)
        self._file.flush()
        return len(data)

    def flush(self) -> None:
        self._file.flush()
