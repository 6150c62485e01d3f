"""A bar on the terminal for work that takes long; nothing where no one watches."""

# ruff: noqa: PLC0415 - most runs never show a bar

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

    from grove.codec.container.writer import ByteSink

_PATIENCE_SECONDS = 0.7

Advance = Callable[[int], None]


class Sized(Protocol):
    """A block of audio or bytes."""

    def __len__(self) -> int: ...


T = TypeVar("T", bound=Sized)


@contextmanager
def progress(label: str, total: int | None, is_shown: bool = True) -> Iterator[Advance]:
    """Yield what to call with each amount done; `total` None is work of unknown length."""
    if not (is_shown and sys.stderr.isatty()):
        yield _ignore
        return
    bar = _Bar(label, total)
    try:
        yield bar.advance
    finally:
        bar.close()


def counted(blocks: Iterable[T], advance: Advance) -> Iterator[T]:
    """Yield `blocks`, each one counted once it has been used."""
    for block in blocks:
        yield block
        advance(len(block))


class CountedSink:
    """Hands bytes on, each of them counted."""

    def __init__(self, out: "ByteSink", advance: Advance) -> None:
        self._out = out
        self._advance = advance

    def write(self, data: bytes, /) -> int | None:
        written = self._out.write(data)
        self._advance(len(data) if written is None else written)
        return written

    def flush(self) -> None:
        self._out.flush()


class _Bar:
    """Appears only once the work has lasted longer than anyone likes to wait in the dark."""

    def __init__(self, label: str, total: int | None) -> None:
        self._label = label
        self._total = total
        self._done = 0
        self._started_s = time.monotonic()
        self._bar: Progress | None = None

    def advance(self, amount: int) -> None:
        self._done += amount
        if self._bar is None and time.monotonic() - self._started_s > _PATIENCE_SECONDS:
            self._bar = self._open()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _open(self) -> "Progress":
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        bar = Progress(
            TextColumn(escape(self._label)),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        bar.add_task(self._label, total=self._total)
        bar.start()
        return bar


def _ignore(_: int) -> None:
    """Nobody watches."""
