"""Which files a command means: names, patterns and folders to pairs of input and output."""

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from grove.codec.errors import CodecError

STANDARD = "-"
CONTAINER_SUFFIXES = (".grv",)


class UsageError(CodecError):
    """File names that do not make sense together."""


@dataclass(frozen=True, slots=True)
class Task:
    """One file to read and one to write; None is standard input or output."""

    source: Path | None
    target: Path | None
    makes_folder: bool = False

    @property
    def source_name(self) -> str:
        return "<stdin>" if self.source is None else _shown(self.source)

    @property
    def target_name(self) -> str:
        return "<stdout>" if self.target is None else _shown(self.target)


@dataclass(frozen=True, slots=True)
class Selection:
    """What a command line says about its files."""

    paths: Sequence[str]
    out_folder: Path | None
    input_suffixes: tuple[str, ...]
    output_suffix: str

    def tasks(self) -> list[Task]:
        """Return what to do; refuse what is ambiguous."""
        if self.out_folder is not None:
            return self._many(self.out_folder)
        if len(self.paths) != 2:
            raise UsageError(
                f"got {len(self.paths)} file names, expected an input and an output",
                hint="name a folder with --out to write several files",
            )
        source, target = (None if path == STANDARD else Path(path) for path in self.paths)
        if source is not None and (source.is_dir() or _is_pattern(source)):
            kind = "a directory" if source.is_dir() else "a pattern"
            raise UsageError(
                f"{_shown(source)}: is {kind}, expected a file",
                hint="name a folder with --out to write several files",
            )
        return [Task(source, target)]

    def _many(self, folder: Path) -> list[Task]:
        tasks: dict[Path, Task] = {}
        for source, relative in self._found():
            target = folder / relative.with_suffix(self.output_suffix)
            other = tasks.get(target)
            if other is not None and other.source != source:
                raise UsageError(
                    f"{other.source_name} and {_shown(source)} would both become {_shown(target)}",
                    hint="write them to different folders",
                )
            tasks[target] = Task(source, target, makes_folder=True)
        if not tasks:
            raise UsageError("no input named", hint="give files, patterns or folders")
        return list(tasks.values())

    def _found(self) -> Iterator[tuple[Path, Path]]:
        """Yield every input, and where it goes below the output folder."""
        for name in self.paths:
            path = Path(name)
            if name == STANDARD:
                raise UsageError("standard input has no name to go by in --out")
            if path.is_dir():
                yield from self._within(path)
            elif _is_pattern(path):
                yield from self._matching(name)
            else:
                yield path, Path(path.name)

    def _matching(self, pattern: str) -> Iterator[tuple[Path, Path]]:
        matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207
        files = [match for match in matches if not match.is_dir()]
        if not files:
            raise UsageError(f"{pattern}: matches no file")
        yield from ((match, Path(match.name)) for match in files)

    def _within(self, folder: Path) -> Iterator[tuple[Path, Path]]:
        files = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in self.input_suffixes]
        if not files:
            wanted = ", ".join(self.input_suffixes)
            raise UsageError(f"{_shown(folder)}: holds no files that end in {wanted}")
        # A link that leads nowhere is a file that cannot be read, and is reported as one.
        yield from ((path, path.relative_to(folder)) for path in files if not path.is_dir())


def _is_pattern(path: Path) -> bool:
    return glob.has_magic(str(path)) and not path.exists()


def _shown(path: Path) -> str:
    text = str(path)
    return text if text.isprintable() else repr(text)
