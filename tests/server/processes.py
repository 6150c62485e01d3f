"""A server in a process of its own, with the fake codec."""

import contextlib
import json
import os
import signal
import socket as sockets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from websockets.sync.client import ClientConnection, connect

HERE = Path(__file__).parent
_START = "import sys; from fake_codec import load_fake; from grove.server.launch import serve; "
_START += "from grove.server.settings import Settings\n"
_START += "if __name__ == '__main__': sys.exit(serve(Settings(), load_fake))"


class Process:
    """A server in a process of its own, with the fake codec."""

    def __init__(self, folder: Path, workers: int, **changes: str) -> None:
        script = folder / "start.py"
        script.write_text(_START)
        with sockets.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(HERE), str(HERE.parent.parent))),
            "GROVE_PORT": str(self.port),
            "GROVE_WORKERS": str(workers),
            "GROVE_BUNDLES": '["fake-24k"]',
            "GROVE_SLOTS": "8",
            "GROVE_STATE_DIR": str(folder / "state"),
            **changes,
        }
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(script)], env=environment, stderr=log, start_new_session=True
            )
        self.url = f"http://127.0.0.1:{self.port}"

    def wait_ready(self) -> None:
        for _ in range(600):
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/ready", timeout=2).status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def connect(self, query: str) -> ClientConnection:
        return connect(f"ws://127.0.0.1:{self.port}/v1/stream?{query}", compression=None)

    def events(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def worker_pids(self) -> set[int]:
        return {pid for pid in self._children() if is_worker(pid)}

    def sandbox_pids(self) -> set[int]:
        """Return the processes that read and write files, where there is one worker."""
        return self._children()

    def _children(self) -> set[int]:
        pid = self.process.pid
        return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def is_worker(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def running(folder: Path, workers: int = 1, **changes: str) -> Iterator[Process]:
    process = Process(folder, workers, **changes)
    try:
        process.wait_ready()
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.process.pid, signal.SIGKILL)
        process.process.wait()
