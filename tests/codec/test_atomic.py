import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from grove.codec import atomic
from grove.codec.atomic import (
    OutputClosedError,
    OutputError,
    atomic_file,
    atomic_folder,
    put_in_place,
)


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@contextmanager
def file_size_limit(limit_bytes: int) -> Iterator[None]:
    """Make the system refuse longer files: the nearest thing to a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _write_half(path: Path, error: BaseException, overwrite: bool = False) -> None:
    with atomic_file(path, overwrite) as file:
        file.write(b"half")
        raise error


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "out.bin"
    with atomic_file(path) as file:
        file.write(b"whole")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert names_in(tmp_path) == ["out.bin"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_failed_block_leaves_nothing_behind(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(error)):
        _write_half(tmp_path / "out.bin", error)
    assert names_in(tmp_path) == []


def test_a_failed_block_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="no"):
        _write_half(path, ValueError("no"), overwrite=True)
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["out.bin"]


def test_a_full_disk_is_an_error_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "out.bin"
    with pytest.raises(OutputError) as caught, file_size_limit(100_000), atomic_file(path) as file:
        file.write(bytes(200_000))
    assert str(caught.value) == f"{path}: cannot be written: File too large"
    assert names_in(tmp_path) == []


def test_a_disk_that_fills_up_at_the_last_flush_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "out.bin"
    with pytest.raises(OutputError, match="File too large"), file_size_limit(1_000):  # noqa: SIM117
        with atomic_file(path) as file:
            file.write(bytes(2_000))
    assert names_in(tmp_path) == []


def test_nothing_is_overwritten_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists already"), atomic_file(path):
        pass
    assert path.read_bytes() == b"old"
    with atomic_file(path, overwrite=True) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "out.bin"
    with pytest.raises(OutputError, match="exists already"), atomic_file(path):
        path.write_bytes(b"theirs")
    assert path.read_bytes() == b"theirs"
    assert names_in(tmp_path) == ["out.bin"]


def test_modes_follow_the_umask_or_the_file_before(tmp_path: Path) -> None:
    path = tmp_path / "out.bin"
    mask = os.umask(0o027)
    try:
        with atomic_file(path):
            pass
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o600)
    with atomic_file(path, overwrite=True):
        pass
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_keeps_pointing_where_it_did(tmp_path: Path) -> None:
    real, link = tmp_path / "real.bin", tmp_path / "link.bin"
    real.write_bytes(b"old")
    link.symlink_to(real)
    with atomic_file(link, overwrite=True) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    heard: list[bytes] = []
    listener = threading.Thread(target=lambda: heard.append(path.read_bytes()))
    listener.start()
    with atomic_file(path) as file:
        file.write(b"live")
    listener.join()
    assert heard == [b"live"]
    assert path.is_fifo()


def test_a_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out") as part:
        (part / "a").write_text("1")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out" / "a").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def fill_and_fail(part: Path) -> None:
    (part / "a").write_text("1")
    raise ValueError("no")


def test_a_folder_that_failed_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), atomic_folder(tmp_path / "out") as part:
        fill_and_fail(part)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_does_not_take_the_place_of_one_with_files(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").touch()
    with (
        pytest.raises(OutputError, match="out: cannot be written"),
        atomic_folder(tmp_path / "out"),
    ):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "kept"]


def test_a_part_that_is_complete_gets_its_name(tmp_path: Path) -> None:
    (tmp_path / "result.part").write_bytes(b"new")
    (tmp_path / "result").write_bytes(b"old")
    put_in_place(tmp_path / "result.part", tmp_path / "result")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("result", b"new")]


def write_to_nobody(file: BinaryIO, reader: int) -> None:
    os.close(reader)
    file.write(b"words")


def test_a_reader_that_left_is_told_from_other_trouble(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(OutputClosedError, match="Broken pipe"), atomic_file(path) as file:
        write_to_nobody(file, reader)
    with pytest.raises(OutputError) as full, atomic_file(Path("/dev/full")) as file:
        file.write(b"no room")
    assert not isinstance(full.value, OutputClosedError)


def test_devices_are_written_to_and_not_replaced() -> None:
    with atomic_file(Path("/dev/null")) as file:
        file.write(b"gone")
    assert Path("/dev/null").is_char_device()
    full = Path("/dev/full")
    with pytest.raises(OutputError, match="No space left"), atomic_file(full) as file:
        file.write(b"no room")


def test_places_that_cannot_hold_a_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, reason in (
        (tmp_path, "is a directory"),
        (tmp_path / "none" / "out.bin", "No such file or directory"),
        (tmp_path / "file" / "out.bin", "Not a directory"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        with pytest.raises(OutputError, match=reason), atomic_file(path):
            pass


def test_an_error_about_another_file_is_not_blamed_on_this_one(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "out.bin"):
        (tmp_path / "in" / "none.bin").read_bytes()


def test_a_process_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from grove.codec.atomic import atomic_file
with atomic_file(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "out.bin"], check=False, cwd=root
    )
    assert done.returncode == -signal.SIGKILL
    assert names_in(tmp_path) == []


def test_a_file_system_without_nameless_files_has_hidden_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "_nameless_file", lambda _: None)
    with atomic_file(tmp_path / "out.bin") as file:
        file.write(b"whole")
        assert names_in(tmp_path)[0].startswith(".out.bin.")
    assert names_in(tmp_path) == ["out.bin"]
    assert (tmp_path / "out.bin").read_bytes() == b"whole"
