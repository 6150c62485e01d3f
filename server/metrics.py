"""Prometheus metrics. With several workers, prometheus_client adds their files up."""

import os
from collections.abc import Sequence

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
    multiprocess,
)

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2, 0.5, 1, 2, 5)
_STREAMS = (1, 2, 4, 8, 16, 32, 64, 128)


class EngineMetrics:
    """Batches of the model thread; `lane` is `live` or `bulk`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._step = Histogram(
            "grove_step_seconds", "Time of one batch", ["lane"], buckets=_SECONDS, registry=registry
        )
        self._streams = Histogram(
            "grove_batch_streams",
            "Streams in one batch",
            ["lane"],
            buckets=_STREAMS,
            registry=registry,
        )
        self._wait = Histogram(
            "grove_queue_wait_seconds",
            "Time from a frame's arrival to the start of its batch",
            ["lane"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._frames = Counter(
            "grove_frames_total", "Frames processed", ["lane"], registry=registry
        )
        self._failures = Counter(
            "grove_step_failures_total", "Batches that raised", registry=registry
        )

    def batch(
        self, is_live: bool, streams: int, frames: int, seconds: float, waits_s: Sequence[float]
    ) -> None:
        lane = "live" if is_live else "bulk"
        self._step.labels(lane).observe(seconds)
        self._streams.labels(lane).observe(streams)
        self._frames.labels(lane).inc(frames)
        wait = self._wait.labels(lane)
        for wait_s in waits_s:
            wait.observe(wait_s)

    def failure(self) -> None:
        self._failures.inc()


class ServiceMetrics:
    """Sessions, requests, rejections and errors."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.engine = EngineMetrics(self.registry)
        self.sessions = Gauge(
            "grove_sessions",
            "Sessions open",
            ["pace"],
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.slots = Gauge(
            "grove_slots",
            "Live sessions that fit",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.opened = Counter(
            "grove_sessions_opened_total", "Sessions opened", ["mode"], registry=self.registry
        )
        self.resumed = Counter(
            "grove_sessions_resumed_total", "Sessions resumed", registry=self.registry
        )
        self.rejected = Counter(
            "grove_rejections_total", "Work refused", ["code"], registry=self.registry
        )
        self.errors = Counter(
            "grove_session_errors_total", "Errors told to clients", ["code"], registry=self.registry
        )
        self.latency = Histogram(
            "grove_frame_latency_seconds",
            "Time from a live frame's arrival to its output being queued for the client",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.requests = Counter(
            "grove_requests_total",
            "REST requests",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "grove_request_seconds", "Time of REST requests", ["route"], registry=self.registry
        )
        self.loop_lag = Histogram(
            "grove_loop_lag_seconds",
            "How late the event loop is",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.jobs_queued = Gauge(
            "grove_jobs_queued", "Jobs waiting", registry=self.registry, multiprocess_mode="livemax"
        )
        self.job_bytes = Gauge(
            "grove_job_bytes",
            "Inputs and results of jobs",
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        self.job_disk_free_bytes = Gauge(
            "grove_job_disk_free_bytes",
            "Free on the disk that jobs are kept on",
            registry=self.registry,
            multiprocess_mode="livemin",
        )
        self.jobs = Counter("grove_jobs_total", "Jobs ended", ["state"], registry=self.registry)


def exposition(metrics: ServiceMetrics) -> tuple[bytes, str]:
    """Return the text for a scrape and its media type."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(metrics.registry), CONTENT_TYPE_LATEST
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST
