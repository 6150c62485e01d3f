"""A real server in its own process, and a line to it that can be cut."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

ROOT = Path(__file__).parents[2]
KEY = "a-key-for-tests"
_START_SECONDS = 60
_STOP_SECONDS = 30


class ServerProcess:
    """`python -m grove.server` on loopback with the shipped bundle; use as a context manager."""

    def __init__(self, state_dir: Path, **settings: str) -> None:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("GROVE_")
        }
        environment |= {"GROVE_PORT": "0", "GROVE_SLOTS": "8", "GROVE_STATE_DIR": str(state_dir)}
        # A session that a test leaves without its line would be waited for.
        environment |= {"GROVE_DRAIN_SECONDS": "0.2"}
        environment |= {f"GROVE_{name.upper()}": value for name, value in settings.items()}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "grove.server"],
            cwd=ROOT,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self._reader = threading.Thread(target=self.process.stderr.read, daemon=True)
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        try:
            self._wait_for_port()
            _wait_until_ready(self.url)
        except BaseException:
            self.process.kill()
            self._reap()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.terminate()
        killer = threading.Timer(_STOP_SECONDS, self.process.kill)
        killer.start()
        status = self._reap()
        killer.cancel()
        assert status == 0

    def _wait_for_port(self) -> None:
        assert self.process.stderr is not None
        killer = threading.Timer(_START_SECONDS, self.process.kill)
        killer.start()
        for line in self.process.stderr:
            if not line.startswith("{"):
                continue  # a library's own words
            said = json.loads(line)
            self.port = said.get("port", self.port)
            if said["event"] == "ready":
                break
        killer.cancel()
        # Nobody reads on, and a full pipe would stop the server.
        self._reader.start()

    def _reap(self) -> int:
        """Wait for the end of the process and let go of all that belongs to it."""
        status = self.process.wait()
        if self._reader.ident is not None:
            self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status


def _wait_until_ready(url: str) -> None:
    deadline_s = time.monotonic() + _START_SECONDS
    while True:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/ready").status_code == 200:
                return
        assert time.monotonic() < deadline_s, "the server did not get ready"
        time.sleep(0.05)


class Line:
    """A TCP relay to the server, whose connections `cut` drops without a word."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self.connections = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        ends, self._ends = self._ends, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        # Without this, a thread that waits in accept takes one more.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._port))
                except OSError:
                    near.close()
                    raise
                self.connections += 1
                self._ends += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=_carry, args=(source, sink), daemon=True).start()


def _carry(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
    source.close()
