"""What the commands say: data to stdout, everything else to stderr, and how they end."""

import json
import sys
from dataclasses import asdict, dataclass

from grove.codec.atomic import OutputClosedError
from grove.codec.cli.selection import Task
from grove.codec.errors import CodecError

EXIT_DONE = 0
EXIT_REFUSED = 2
"""An input or an option cannot be used; no output was written for it."""
EXIT_DAMAGED = 3
"""Done, but the input was damaged: what could be saved was, and the report says what is missing."""
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

_MOST_WARNINGS = 20


@dataclass(frozen=True, slots=True)
class Failure:
    """What was refused, and why."""

    message: str
    hint: str | None = None
    input: str | None = None


@dataclass(frozen=True, slots=True)
class Failures:
    """The document of a command that did not get to work."""

    errors: tuple[Failure, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class FileReport:
    """One file that was written."""

    input: str
    output: str
    frames: int | None
    samples: int
    """Per channel, in the audio file: what went in when encoding, what came out otherwise."""
    sample_rate_hz: int
    channels: int
    output_bytes: int | None
    damage: tuple[str, ...] = ()
    omitted_damage_count: int = 0

    @property
    def is_damaged(self) -> bool:
        return bool(self.damage)

    @property
    def summary(self) -> str:
        seconds = self.samples / self.sample_rate_hz
        size = "" if self.output_bytes is None else f", {self.output_bytes:,} bytes"
        return f"{self.input} -> {self.output}: {seconds:.2f} s{size}"


@dataclass(frozen=True, slots=True)
class FilesDocument:
    """What became of every file; `errors` lists those that were refused."""

    files: tuple[FileReport, ...]
    errors: tuple[Failure, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class InputReport:
    """One of the files that were joined."""

    input: str
    damage: tuple[str, ...] = ()
    omitted_damage_count: int = 0


@dataclass(frozen=True, slots=True)
class JoinDocument:
    """What became of files that were joined; `errors` says why it was refused."""

    inputs: tuple[InputReport, ...]
    output: str
    frames: int
    samples: int
    """Per channel, at the codec's rate."""
    sample_rate_hz: int
    channels: int
    output_bytes: int | None
    errors: tuple[Failure, ...] = ()

    @property
    def is_damaged(self) -> bool:
        return any(one.damage for one in self.inputs)

    @property
    def summary(self) -> str:
        seconds = self.samples / self.sample_rate_hz
        size = "" if self.output_bytes is None else f", {self.output_bytes:,} bytes"
        return f"{len(self.inputs)} files -> {self.output}: {seconds:.2f} s{size}"

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


def failure_of(error: CodecError) -> Failure:
    """Return an error as one line, and one of advice."""
    return Failure(_one_line(str(error)), error.hint and _one_line(error.hint))


def file_failure(error: CodecError, name: str, hint: str | None) -> Failure:
    """Return the same of a file's error, which names the file; `hint` is in terms of options."""
    failure = failure_of(error)
    says_it = name in failure.message
    message = failure.message if says_it else f"{name}: {failure.message}"
    return Failure(message, hint and _one_line(hint), name)


def output_bytes(task: Task) -> int | None:
    """Return the size of what a task wrote; None where that is no file."""
    if task.target is None or not task.target.is_file():
        return None
    return task.target.stat().st_size


def emit(text: str) -> None:
    """Print data."""
    try:
        print(text, flush=True)
    except BrokenPipeError as error:
        raise OutputClosedError("the output was closed") from error


def log(text: str) -> None:
    """Print for people."""
    print(text, file=sys.stderr, flush=True)


def say_failure(failure: Failure) -> None:
    log(f"error: {failure.message}")
    if failure.hint:
        log(f"hint: {failure.hint}")


def say_damage(report: FileReport | InputReport) -> None:
    for line in report.damage[:_MOST_WARNINGS]:
        log(f"warning: {report.input}: {_one_line(line)}")
    unsaid = len(report.damage[_MOST_WARNINGS:]) + report.omitted_damage_count
    if unsaid:
        log(f"warning: {report.input}: {unsaid} more places are damaged")


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())
