"""A Ray cluster makes the same bytes, also where a worker dies, or where another engine began."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from corpus_cases import contents, make_corpus, request

from grove.codec.arrays import F32
from grove.codec.tokens.run import tokenize

# A process of its own: Ray leaves sockets and threads behind that are no warning of ours.
SCRIPT = """
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import ray
from corpus_cases import request

from grove.codec.tokens.run import Share, Watcher, tokenize


def parent_of(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def is_ours(pid):
    while pid > 1 and pid != os.getpid():
        pid = parent_of(pid)
    return pid == os.getpid()


def workers():
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    for pid in pids:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if command.startswith(b"ray::Map(_made)") and is_ours(pid):
            yield pid


class Killer(Watcher):
    killed = 0

    def shard(self, record):
        if not self.killed:
            for pid in workers():
                os.kill(pid, signal.SIGKILL)
                self.killed += 1
                break


ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
killer = Killer()
plain = request(sys.argv[1], Path(sys.argv[2]), items_per_shard=2)
manifest = tokenize(replace(plain, engine="ray", workers=2), killer)
print("killed", killer.killed, "rows", manifest.rows)
taken_up = request(sys.argv[1], Path(sys.argv[3]), items_per_shard=2)
tokenize(replace(taken_up, share=Share(0, 3)))  # this engine's share of an unfinished run
watcher = Killer()
watcher.killed = 1
manifest = tokenize(replace(taken_up, engine="ray", workers=2, resume=True), watcher)
print("resumed", "rows", manifest.rows, "errors", manifest.errors)
"""


@pytest.mark.slow
def test_a_killed_worker_costs_retries_and_a_resumed_run_is_the_same(
    clips: list[F32], tmp_path: Path
) -> None:
    corpus = make_corpus(tmp_path / "corpus", clips, count=40)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(Path(__file__).parents[1]), *sys.path)),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, corpus, tmp_path / "ray", tmp_path / "resumed"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["killed 1 rows 43", "resumed rows 43 errors 3"]
    tokenize(request(corpus, tmp_path / "local", items_per_shard=2))
    local = contents(tmp_path / "local")
    assert contents(tmp_path / "ray") == local
    assert contents(tmp_path / "resumed") == local


QUIET = """
import sys
from dataclasses import replace
from pathlib import Path

from corpus_cases import request

from grove.codec.tokens.run import tokenize

plain = request(sys.argv[1], Path(sys.argv[2]), items_per_shard=2)
print(tokenize(replace(plain, engine="ray", workers=1, quiet=True)).rows)
"""


def ray_environment() -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        "PYTHONPATH": os.pathsep.join((str(Path(__file__).parents[1]), *sys.path)),
        "RAY_USAGE_STATS_ENABLED": "0",
    }


@pytest.mark.slow
def test_a_cluster_started_here_says_nothing_where_it_is_told_to(
    clips: list[F32], tmp_path: Path
) -> None:
    corpus = make_corpus(tmp_path / "corpus", clips, count=3)
    done = subprocess.run(
        [sys.executable, "-c", QUIET, corpus, tmp_path / "ray"],
        capture_output=True,
        text=True,
        check=False,
        env=ray_environment(),
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("6\n", "")


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_one_line(clips: list[F32], tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", clips, count=2)
    options = ("--engine", "ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    done = subprocess.run(
        [f"{sys.prefix}/bin/grove", "tokenize", corpus, "--out", tmp_path / "t", *options],
        capture_output=True,
        text=True,
        check=False,
        env={**ray_environment(), "RAY_ADDRESS": address},
        timeout=120,
    )
    assert done.returncode == 2
    assert f"error: RAY_ADDRESS is {address}, where nothing answers" in done.stderr
    assert "Traceback" not in done.stderr
