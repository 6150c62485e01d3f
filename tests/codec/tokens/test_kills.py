"""A run that dies between any two writes resumes to the bytes of one that did not.

Killed at random moments in test_run; here before each time that a file is put in place, and after.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from corpus_cases import contents, make_corpus, request

from grove.codec.arrays import F32
from grove.codec.tokens.records import Format
from grove.codec.tokens.run import tokenize

# Forked before a model is loaded: a run costs then a fifth of what a new process would.
FORKED = """
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from corpus_cases import request
from grove.codec import atomic
from grove.codec.tokens import lanes, shard_files, extras
from grove.codec.tokens.run import tokenize

extras.pyarrow_parquet()
source, out, form, files = sys.argv[1:5]
if files == "hidden":  # as on a file system that has no nameless ones
    atomic._nameless_file = lambda _: None
syncs = 0
real_sync = os.fsync


def killing(at):
    def fsync(descriptor):
        global syncs
        syncs += 1
        if syncs == at:
            os.kill(os.getpid(), signal.SIGKILL)
        real_sync(descriptor)

    return fsync


def status_of(folder, at):
    child = os.fork()
    if child == 0:
        os.fsync = killing(at)
        tokenize(replace(request(source, folder, form), resume=True))
        os._exit(0)
    return os.waitpid(child, 0)[1]


at, killed = 1, True
while killed:
    folder = Path(f"{out}/{at}")
    killed = os.WIFSIGNALED(status_of(folder, at))
    parts = sum(path.suffix == ".part" for path in folder.rglob("*"))
    assert status_of(folder, 0) == 0, at
    print(at, int(killed), parts, flush=True)
    at += 1
"""

WORKERS = """
import sys
from dataclasses import replace
from pathlib import Path

from corpus_cases import request
from grove.codec.tokens.run import Watcher, tokenize


class Saying(Watcher):
    def shard(self, record):
        print(record.number, flush=True)


if __name__ == "__main__":
    plain = request(sys.argv[1], Path(sys.argv[2]), "shar", items_per_shard=2)
    tokenize(replace(plain, workers=2), Saying())
"""


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(Path(__file__).parents[1]), *sys.path)),
    }


@pytest.mark.slow
@pytest.mark.parametrize(("name", "files"), [("parquet", "nameless"), ("shar", "hidden")])
def test_a_kill_at_every_write_leaves_nothing_that_resuming_does_not_mend(
    clips: list[F32], tmp_path: Path, name: Format, files: str
) -> None:
    corpus = make_corpus(tmp_path / "corpus", clips, count=2)
    tokenize(request(corpus, tmp_path / "whole", name))
    whole = contents(tmp_path / "whole")
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(corpus), str(tmp_path), name, files],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    points = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    # Two syncs a file: of what is in it, then of the folder that it is in.
    assert len(points) == 2 * len(whole) + 1
    assert [killed for _, killed, _ in points] == [1] * (2 * len(whole)) + [0]
    left = sum(parts for _, _, parts in points)
    assert left >= len(whole) if files == "hidden" else left == 0
    for at, _, _ in points:
        assert contents(tmp_path / str(at)) == whole, f"killed before write {at}"


def processes_below(pid: int) -> set[int]:
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found |= {int(child) for child in (task / "children").read_text().split()}
    return found.union(*(processes_below(child) for child in found))


@pytest.mark.slow
def test_a_pool_whose_parent_is_killed_ends_and_resumes_to_the_same_bytes(
    clips: list[F32], tmp_path: Path
) -> None:
    corpus, out = make_corpus(tmp_path / "corpus", clips, count=40), tmp_path / "out"
    script = tmp_path / "pooled.py"
    script.write_text(WORKERS)
    with subprocess.Popen(
        [sys.executable, str(script), str(corpus), str(out)],
        stdout=subprocess.PIPE,
        env=environment(),
    ) as run:
        assert run.stdout is not None
        run.stdout.readline()
        workers = processes_below(run.pid)
        run.send_signal(signal.SIGKILL)
    assert run.returncode == -signal.SIGKILL
    assert len(workers) >= 2
    deadline_s = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline_s, "workers outlive the run"
        time.sleep(0.05)
    assert not (out / "manifest.json").exists()
    plain = request(corpus, out, "shar", items_per_shard=2)
    tokenize(replace(plain, resume=True))
    tokenize(request(corpus, tmp_path / "whole", "shar", items_per_shard=2))
    assert contents(out) == contents(tmp_path / "whole")
