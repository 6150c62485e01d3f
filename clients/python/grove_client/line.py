"""HTTP connections, and the calls that are made over them."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import IO

import httpx

from grove_client import views
from grove_client.calls import Call, Source
from grove_client.errors import GroveError, reply_problem
from grove_client.protocol import auth_headers
from grove_client.retries import Attempts, Retries
from grove_client.sink import Sink
from grove_client.views import Coded


class Line:
    """The way to one service."""

    def __init__(self, url: str, key: str | None, retries: Retries, timeout_seconds: float) -> None:
        self.retries = retries
        self._timeout_seconds = timeout_seconds
        # The range of a reply that a proxy had packed would be a range of something else.
        headers = {**auth_headers(key), "Accept-Encoding": "identity"}
        self._http = httpx.Client(base_url=url, headers=headers)

    def close(self) -> None:
        self._http.close()

    def body(self, call: Call) -> bytes:
        return self.file(call, None).content

    def file(self, call: Call, target: Path | None) -> Coded:
        """Make the call until it works; return what came."""
        attempts = Attempts(self.retries, call)
        with Sink(target) as sink:
            while True:
                try:
                    with self.opened(call, received_bytes=sink.size_bytes) as reply:
                        sink.begin(is_rest=reply.status_code == httpx.codes.PARTIAL_CONTENT)
                        for chunk in reply.iter_bytes():
                            sink.write(chunk)
                        headers = reply.headers
                    return views.coded_of(sink.finished(), headers)
                except (GroveError, httpx.TransportError) as error:
                    time.sleep(attempts.wait_seconds(error))

    @contextmanager
    def opened(
        self, call: Call, *, received_bytes: int = 0, silence_seconds: float | None = None
    ) -> Iterator[httpx.Response]:
        """Make the call once, and hold the reply open."""
        silence = self._timeout_seconds if silence_seconds is None else silence_seconds
        with _content(call.body) as content:
            request = self._http.build_request(
                call.method,
                call.path,
                params=call.params,
                headers=call.headers_after(received_bytes),
                content=content,
                timeout=httpx.Timeout(self._timeout_seconds, read=silence),
            )
            with closing(self._http.send(request, stream=True)) as reply:
                if reply.is_error:
                    reply.read()
                    raise reply_problem(reply)
                yield reply


def _content(body: Source | None) -> AbstractContextManager[bytes | IO[bytes] | None]:
    return body.open("rb") if isinstance(body, Path) else nullcontext(body)
