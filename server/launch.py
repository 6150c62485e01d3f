"""Starts and ends the server's processes: one, or several behind one port."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
import threading
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType

import structlog
import uvicorn

from grove.codec.errors import ConfigError
from grove.server.app import create_app
from grove.server.doorway import Doorway, protocol_at, raise_descriptor_limit
from grove.server.live.line import LineProtocol
from grove.server.live.streams import worker_name
from grove.server.logs import set_up_logs
from grove.server.models import LoadModel, load_model
from grove.server.problems import ProblemCode
from grove.server.relay import worker_socket
from grove.server.service import Service
from grove.server.settings import Settings
from grove.server.supervisor import supervise

_log = structlog.get_logger("launch")
_GRACE_SECONDS = 5
_BACKLOG = 2048
# The model thread must get the interpreter back soon after its step, whatever the loop is at.
_SWITCH_SECONDS = 0.0005


def serve(settings: Settings, load: LoadModel = load_model) -> int:
    """Serve until told to stop; return the exit status."""
    set_up_logs(settings)
    listener = _listener(settings)
    if settings.workers == 1:
        return run_worker(settings, load, listener)
    with tempfile.TemporaryDirectory(prefix="grove-") as folder:
        run_dir = Path(folder)
        # prometheus_client looks for this when it is first imported, which is in the workers.
        (run_dir / "metrics").mkdir()
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(run_dir / "metrics")
        shared = settings.model_copy(update={"run_dir": run_dir})
        return supervise(shared.workers, run_worker, (shared, load, listener))


def run_worker(settings: Settings, load: LoadModel, listener: socket.socket) -> int:
    """Serve in this process."""
    set_up_logs(settings)
    raise_descriptor_limit()
    sys.setswitchinterval(_SWITCH_SECONDS)
    if parent := parent_process():
        threading.Thread(target=_stop_with, args=(parent.sentinel,), daemon=True).start()
    sockets = [listener]
    if settings.run_dir is not None:
        sockets.append(_sibling_listener(worker_socket(settings.run_dir, worker_name(os.getpid()))))
    try:
        make_server(settings, load).run(sockets)
    except SystemExit as stopped:  # uvicorn's way to say that the application did not start
        return int(stopped.code or 0)
    return 0


def make_server(settings: Settings, load: LoadModel = load_model) -> "DrainingServer":
    """Return the server of one process, not yet running."""
    app = create_app(settings, load)

    def count(code: ProblemCode) -> None:
        if (service := _service_in(app)) is not None:
            service.metrics.rejected.labels(code.value).inc()

    config = uvicorn.Config(
        app,
        http=protocol_at(Doorway(settings, count)),
        ws=LineProtocol,
        ws_max_size=settings.max_message_bytes,
        # Audio does not shrink, and compressing it would cost more than coding it.
        ws_per_message_deflate=False,
        ws_ping_interval=20,
        ws_ping_timeout=20,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    return DrainingServer(config)


class DrainingServer(uvicorn.Server):
    """Drains at the first signal, stops at the second; SIGHUP reads the keys again."""

    _drain: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.read_keys)

    def read_keys(self) -> None:
        if (service := self._service()) is None:
            return
        try:
            _log.info("keys_read", keys=service.gate.read_keys())
        except ConfigError as error:
            _log.error("keys_not_read", error=str(error))  # those known so far stay

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        service = self._service()
        if service is None or self._drain is not None:
            self.should_exit = True
            self.force_exit = self.force_exit or sig == signal.SIGINT
            return
        self._drain = asyncio.get_event_loop().create_task(self._drained(service))

    async def _drained(self, service: Service) -> None:
        try:
            await service.drain()
        finally:
            self.should_exit = True

    def _service(self) -> Service | None:
        if not self.started:
            return None
        app = self.config.app
        assert not isinstance(app, str)
        return _service_in(app)


def _service_in(app: object) -> Service | None:
    service = getattr(getattr(app, "state", None), "service", None)
    return service if isinstance(service, Service) else None


def _listener(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((settings.host, settings.port))
    listener.set_inheritable(True)
    host, port = listener.getsockname()[:2]
    _log.info("listening", host=host, port=port, workers=settings.workers)
    return listener


def _sibling_listener(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    return listener


def _stop_with(sentinel: int) -> None:
    """End this worker when its supervisor is gone."""
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
