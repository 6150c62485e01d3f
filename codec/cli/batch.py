"""The loop that commands about files share: each file is done or refused, and told of."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from grove.codec.atomic import OutputClosedError, OutputError
from grove.codec.cli.pipes import hint_of
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
from grove.codec.errors import CodecError


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What every command about files takes."""

    force: bool = False
    as_json: bool = False
    quiet: bool = False


def tasks_of(selection: Selection, options: RunOptions) -> list[Task]:
    """Return what to do; refuse output and report on the one stdout."""
    tasks = selection.tasks()
    if any(task.target is None for task in tasks):
        refuse_report_in_output(options)
    return tasks


def refuse_report_in_output(options: RunOptions) -> None:
    """Refuse `--json` where the output goes to stdout."""
    if options.as_json:
        raise UsageError(
            "the report and the output cannot both go to stdout",
            hint="name an output file, or leave out --json",
        )


def run_tasks(tasks: list[Task], options: RunOptions, work: Callable[[Task], FileReport]) -> int:
    """Do the work with each file, and go on behind one that is refused; return the exit code."""
    reports: list[FileReport] = []
    failures: list[Failure] = []
    for task in tasks:
        match _outcome(task, options, work):
            case FileReport() as report:
                reports.append(report)
            case Failure() as failure:
                failures.append(failure)
    if options.as_json:
        emit(FilesDocument(tuple(reports), tuple(failures)).to_json())
    if failures:
        return EXIT_REFUSED
    return EXIT_DAMAGED if any(report.is_damaged for report in reports) else EXIT_DONE


def make_folder(task: Task) -> None:
    """Make the folders below --out that a file goes into, once there is something to put there."""
    if task.target is None or not task.makes_folder:
        return
    try:
        task.target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{task.target.parent}: cannot be made: {error.strerror}") from error


def _outcome(
    task: Task, options: RunOptions, work: Callable[[Task], FileReport]
) -> FileReport | Failure:
    """Do the work of one file and tell of it."""
    try:
        report = work(task)
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
