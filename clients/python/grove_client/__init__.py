"""A client of the Grove service, sync and async: files, jobs, models and live streams."""

from grove_client.calls import FileSettings, Operation, Source
from grove_client.client import Grove, Jobs
from grove_client.client_async import AsyncGrove, AsyncJobs
from grove_client.errors import GroveError
from grove_client.protocol import Packet, Session, StreamSettings, Summary
from grove_client.retries import Retries
from grove_client.stream import Stream
from grove_client.stream_async import AsyncStream
from grove_client.views import BrowserToken, Coded, Job, Model

__version__ = "0.1.0"

__all__ = [
    "AsyncGrove",
    "AsyncJobs",
    "AsyncStream",
    "BrowserToken",
    "Coded",
    "FileSettings",
    "Grove",
    "GroveError",
    "Job",
    "Jobs",
    "Model",
    "Operation",
    "Packet",
    "Retries",
    "Session",
    "Source",
    "Stream",
    "StreamSettings",
    "Summary",
]
