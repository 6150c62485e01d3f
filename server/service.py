"""The service object: everything that one worker process runs, put together once at start."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import Request
from starlette.requests import HTTPConnection

from grove.server.admission import Admission
from grove.server.allowance import Allowances
from grove.server.auth import Caller, Gate
from grove.server.engine.batch import Batcher
from grove.server.engine.calibration import measure_slots
from grove.server.engine.engine import Engine, Ticks
from grove.server.engine.watchdog import LoopWatchdog
from grove.server.files.decoders import Decoders
from grove.server.files.transfer import Machinery
from grove.server.jobs.records import Job
from grove.server.jobs.store import JobStore
from grove.server.jobs.work import failed, perform
from grove.server.live.streams import StreamRegistry
from grove.server.metrics import ServiceMetrics
from grove.server.models import LoadModel, Model, Shelf, hop_seconds
from grove.server.problems import Problem, ProblemCode
from grove.server.sandbox.pool import SandboxPool
from grove.server.settings import Settings

_log = structlog.get_logger("service")


class Service:
    """The parts, which routes reach through `service_of`."""

    def __init__(
        self, settings: Settings, shelf: Shelf, metrics: ServiceMetrics, engine: Engine, slots: int
    ) -> None:
        self.settings = settings
        self.shelf = shelf
        self.metrics = metrics
        self.engine = engine
        self.gate = Gate(settings)
        self.admission = Admission(settings, slots)
        self.allowances = Allowances(settings)
        self.pool = SandboxPool(settings, settings.requests_at_once + settings.jobs_at_once)
        self.streams = StreamRegistry(settings, engine, self.admission, metrics, self.allowances)
        self.jobs = JobStore(settings)
        self.machinery = Machinery(engine, self.pool, Decoders(self.pool, settings), shelf)

    @property
    def is_ready(self) -> bool:
        return self.engine.alive and self.admission.has_room

    def find_model(self, wanted: str | None) -> Model:
        """Return the model that a REST request names."""
        model = self.shelf.find(wanted)
        if model is None:
            served = ", ".join(model.spec.name for model in self.shelf.models)
            raise Problem(
                ProblemCode.NOT_FOUND,
                f"there is no model {(wanted or '')[:80]!r}, expected one of {served}",
                pointer="#/query/model",
            )
        return model

    async def run_job(self, job: Job) -> Job:
        """Return a job as it ended."""
        model = self.shelf.find_for_tokens(job.model_sha256)
        if model is None:
            return failed(job, Problem(ProblemCode.NOT_FOUND, "the job's model is gone"))
        ended = await perform(job, model, self.jobs, self.machinery, self.settings.max_job_seconds)
        self.allowances.use(job.caller, seconds=ended.seconds_done)
        self.metrics.jobs.labels(ended.state).inc()
        return ended

    async def drain(self) -> None:
        """Refuse what is new and wait for what is open, up to the limit."""
        self.admission.is_draining = True
        _log.info("draining", sessions=len(self.streams), requests=self.admission.requests)
        self.streams.tell_draining()
        deadline_s = asyncio.get_running_loop().time() + self.settings.drain_seconds
        while self.streams or self.admission.requests:
            if asyncio.get_running_loop().time() >= deadline_s:
                break
            await asyncio.sleep(0.05)
        await self.streams.close_all()
        _log.info("drained", requests=self.admission.requests)


@asynccontextmanager
async def running_service(settings: Settings, load: LoadModel) -> AsyncIterator[Service]:
    """Load, measure, start; stop everything in the end."""
    metrics = ServiceMetrics()
    models = [await asyncio.to_thread(load, name, settings.threads) for name in settings.bundles]
    shelf = Shelf(models)
    batchers = {model.spec.model_sha256: Batcher(model.codec) for model in models}
    slots = settings.slots
    if slots is None:
        slots = await asyncio.to_thread(
            measure_slots, batchers[shelf.default.spec.model_sha256], settings
        )
    engine = Engine(
        batchers,
        metrics.engine,
        Ticks(settings.tick_ms / 1000, hop_seconds(shelf.default)),
        settings.max_batch,
        settings.slice_frames,
    )
    service = Service(settings, shelf, metrics, engine, slots)
    metrics.slots.set(slots)
    engine.start()
    try:
        async with (
            LoopWatchdog(metrics.loop_lag.observe).watching(),
            service.streams.watching(),
            service.jobs.working(service.run_job),
        ):
            await service.pool.warm_up()
            _log.info("ready", slots=slots, models=[model.label for model in shelf.models])
            yield service
    finally:
        await service.pool.close()
        engine.stop()


def service_of(connection: HTTPConnection) -> Service:
    """Return the service behind a request or a WebSocket."""
    service = connection.app.state.service
    assert isinstance(service, Service)
    return service


def caller_of(request: Request) -> Caller:
    """Return who sends a request, or refuse."""
    address = request.client.host if request.client else "unknown"
    caller = service_of(request).gate.caller(request.headers, (), address)
    request.state.caller = caller.name
    return caller
