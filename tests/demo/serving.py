"""The server as its own process, so that it can be killed."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from line import free_port

_START_SECONDS = 60


class ServerProcess:
    """`grove serve` with the default bundle on a port of its own."""

    def __init__(self, state_dir: Path, settings: dict[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self._log = state_dir / "server.log"
        self._environment = {**os.environ, "GROVE_STATE_DIR": str(state_dir), **settings}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        grove = Path(sys.executable).parent / "grove"
        command = [str(grove), "serve", "--host", "127.0.0.1", "--port", str(self.port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )
        deadline_s = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline_s, "the server did not start"
            time.sleep(0.1)

    def kill(self) -> None:
        """End it as a crash does: no draining, no farewell."""
        assert self._process
        self._process.kill()
        self._process.wait()

    def health(self) -> dict[str, int]:
        found: dict[str, int] = httpx.get(self.url + "health").json()
        return found

    def _is_ready(self) -> bool:
        try:
            return httpx.get(self.url + "ready").status_code == 200
        except httpx.TransportError:
            return False

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
