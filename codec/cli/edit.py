"""`grove cut` and `grove join`: containers from containers, without a model."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from grove.codec.atomic import OutputError
from grove.codec.cli.batch import (
    RunOptions,
    make_folder,
    refuse_report_in_output,
    run_tasks,
    tasks_of,
)
from grove.codec.cli.pipes import container_out, refuse_audio_name, refuse_existing, seekable_in
from grove.codec.cli.progress import CountedSink, progress
from grove.codec.cli.report import (
    EXIT_DAMAGED,
    EXIT_DONE,
    EXIT_REFUSED,
    Failure,
    Failures,
    FileReport,
    InputReport,
    JoinDocument,
    emit,
    file_failure,
    log,
    output_bytes,
    say_damage,
    say_failure,
)
from grove.codec.cli.selection import STANDARD, Selection, Task, UsageError
from grove.codec.container.edit import Joiner, NamedHeader, Written, lower_levels, trim
from grove.codec.container.file import ContainerFile
from grove.codec.container.writer import ByteSink
from grove.codec.errors import CodecError


@dataclass(frozen=True, slots=True)
class Cut:
    """What to keep; None is from the start, to the end, all levels."""

    from_s: float | None = None
    to_s: float | None = None
    levels: int | None = None

    @property
    def is_whole(self) -> bool:
        return self.from_s is None and self.to_s is None


def run_cut(selection: Selection, cut: Cut, options: RunOptions) -> int:
    """Cut each file; return the exit code."""
    if cut.is_whole and cut.levels is None:
        raise UsageError("nothing to cut away", hint="give --from, --to or --levels")
    if cut.to_s is not None and cut.to_s <= (cut.from_s or 0):
        raise UsageError(f"--to is {cut.to_s:g} s, expected more than {cut.from_s or 0:g} s")
    tasks = tasks_of(selection, options)
    return run_tasks(tasks, options, lambda task: _cut(task, cut, options))


def run_join(names: Sequence[str], options: RunOptions) -> int:
    """Join all names but the last into that one; return the exit code."""
    tasks = _join_tasks(names)
    if tasks[0].target is None:
        refuse_report_in_output(options)
    refuse_audio_name(tasks[0])
    refuse_existing(tasks[0], options.force)
    report = _joined(_Join(tasks, options))
    if isinstance(report, Failure):
        if options.as_json:
            emit(Failures((report,)).to_json())
        else:
            say_failure(report)
        return EXIT_REFUSED
    if options.as_json:
        emit(report.to_json())
    else:
        _say(report, options)
    return EXIT_DAMAGED if report.is_damaged else EXIT_DONE


def _joined(join: "_Join") -> JoinDocument | Failure:
    """Join, or say which file stands in the way."""
    try:
        return join.run()
    except OutputError:
        raise  # which names the output
    except CodecError as error:
        return file_failure(error, join.at.source_name, error.hint)
    except OSError as error:
        reason = error.strerror or str(error)
        return Failure(f"{join.at.source_name}: {reason}", input=join.at.source_name)


def _cut(task: Task, cut: Cut, options: RunOptions) -> FileReport:
    refuse_audio_name(task)
    with seekable_in(task) as file:
        reader = ContainerFile(file)
        first, end = _bounds(reader, cut)
        share = (end - first) / max(1, reader.sample_count)
        make_folder(task)
        with (
            container_out(task, options.force) as out,
            progress(task.source_name, _size_of(file, share), not options.quiet) as advance,
        ):
            written = _cut_into(CountedSink(out, advance), reader, cut, (first, end))
        return FileReport(
            input=task.source_name,
            output=task.target_name,
            frames=written.frames,
            samples=written.samples,
            sample_rate_hz=reader.header.codec.sample_rate_hz,
            channels=reader.header.channels,
            output_bytes=output_bytes(task),
            damage=tuple(map(str, reader.damage)),
            omitted_damage_count=reader.omitted_damage_count,
        )


def _cut_into(out: ByteSink, reader: ContainerFile, cut: Cut, bounds: tuple[int, int]) -> Written:
    if cut.is_whole and cut.levels is not None:
        return lower_levels(reader, out, cut.levels)
    return trim(reader, out, *bounds, level=cut.levels)


def _bounds(reader: ContainerFile, cut: Cut) -> tuple[int, int]:
    """Return the first sample that stays and the one behind the last; the end may come sooner."""
    rate_hz, count = reader.header.codec.sample_rate_hz, reader.sample_count
    first = round((cut.from_s or 0) * rate_hz)
    end = count if cut.to_s is None else min(count, round(cut.to_s * rate_hz))
    if first and first >= count:
        raise CodecError(f"ends at {count / rate_hz:.3f} s, --from is {first / rate_hz:.3f} s")
    return first, end


class _Join:
    """Two passes over the files: their headers first, since they make the result's."""

    def __init__(self, tasks: Sequence[Task], options: RunOptions) -> None:
        self.tasks = tasks
        self.options = options
        self.at = tasks[0]
        """The file in hand."""
        self._piped: dict[Task, BinaryIO] = {}

    def run(self) -> JoinDocument:
        target = self.tasks[0]
        with ExitStack() as stack:
            headers, size = [], 0
            for task in self._each():
                if task.source is None or not task.source.is_file():
                    self._piped[task] = stack.enter_context(seekable_in(task))
                with self._open(task) as file:
                    size += _size_of(file)
                    headers.append(NamedHeader(task.source_name, ContainerFile(file).header))
            out = stack.enter_context(container_out(target, self.options.force))
            advance = stack.enter_context(
                progress(target.target_name, size, not self.options.quiet)
            )
            joiner = Joiner(headers, CountedSink(out, advance))
            inputs = tuple(self._append(joiner, task) for task in self._each())
            written = joiner.finish()
        return JoinDocument(
            inputs=inputs,
            output=target.target_name,
            frames=written.frames,
            samples=written.samples,
            sample_rate_hz=headers[0].header.codec.sample_rate_hz,
            channels=headers[0].header.channels,
            output_bytes=output_bytes(target),
        )

    def _each(self) -> Iterator[Task]:
        for task in self.tasks:
            self.at = task
            yield task

    def _append(self, joiner: Joiner, task: Task) -> InputReport:
        with self._open(task) as file:
            reader = ContainerFile(file)
            joiner.append(reader)
            damage = tuple(map(str, reader.damage))
            return InputReport(task.source_name, damage, reader.omitted_damage_count)

    def _open(self, task: Task) -> AbstractContextManager[BinaryIO]:
        # A pipe tells all it has only once.
        kept = self._piped.get(task)
        return seekable_in(task) if kept is None else nullcontext(kept)


def _join_tasks(names: Sequence[str]) -> list[Task]:
    if len(names) < 2:
        raise UsageError(f"got {len(names)} file names, expected inputs and an output")
    *sources, target = (None if name == STANDARD else Path(name) for name in names)
    if sources.count(None) > 1:
        raise UsageError("standard input can be read once, it is named more often")
    return [Task(source, target) for source in sources]


def _say(report: JoinDocument, options: RunOptions) -> None:
    for one in report.inputs:
        say_damage(one)
    if sys.stderr.isatty() and not options.quiet:
        log(report.summary)


def _size_of(file: BinaryIO, share: float = 1.0) -> int:
    return round(file.seek(0, 2) * share)
