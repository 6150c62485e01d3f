"""Requests that never become one: endless, slow, half-open and oversized heads."""

import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from hostile_cases import answers, eventually
from running import RunningServer, make_settings

GET = b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\n"
UPGRADE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    settings = make_settings(
        tmp_path_factory.mktemp("state"),
        head_deadline_seconds=1,
        waiting_connections=20,
        reply_stall_seconds=1,
    )
    with RunningServer(settings) as running:
        yield running


def dial(server: RunningServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def reply_to(server: RunningServer, head: bytes) -> bytes:
    """Send as much of a head as the server takes, and return all that it answers."""
    with dial(server) as line:
        try:
            for start in range(0, len(head), 4096):
                line.sendall(head[start : start + 4096])
        except (BrokenPipeError, ConnectionResetError):
            pass
        return everything(line)


def everything(line: socket.socket) -> bytes:
    parts = []
    try:
        while part := line.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        pass  # what the server did not read makes the system say so, behind the answer
    return b"".join(parts)


def refusals(server: RunningServer, code: str) -> float:
    return server.service.metrics.rejected.labels(code)._value.get()


def is_closed(line: socket.socket) -> bool:
    line.settimeout(0.01)
    try:
        return line.recv(65_536) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (GET + b"X-Long: " + b"a" * 40_000, 431, "headers_too_large"),
        (GET + b"X-Long: " + b"a" * 33_000 + b"\r\n\r\n", 431, "headers_too_large"),
        (GET + b"".join(b"X-%d: 1\r\n" % n for n in range(200)), 431, "headers_too_large"),
        (GET + b"a" * 40_000, 431, "headers_too_large"),
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n\r\n", 414, "url_too_long"),
        (b"GET /" + b"a" * 9_000, 414, "url_too_long"),
        (UPGRADE + b"X-Long: " + b"a" * 40_000, 431, "headers_too_large"),
        (UPGRADE + b"".join(b"X-%d: 1\r\n" % n for n in range(200)), 431, "headers_too_large"),
        (b"nonsense\r\n\r\n", 400, "bad_request"),
    ],
    ids=lambda value: value[:12].decode() if isinstance(value, bytes) else str(value),
)
def test_oversized_heads_are_refused_before_any_key_is_looked_at(
    guarded: RunningServer, head: bytes, status: int, code: str
) -> None:
    answer = reply_to(guarded, head)
    start, _, body = answer.partition(b"\r\n\r\n")
    assert start.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert json.loads(body)["code"] == code
    assert answers(guarded.url)


def test_trailers_count_as_headers(guarded: RunningServer) -> None:
    before = refusals(guarded, "headers_too_large")
    head = b"POST /live HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    trailers = b"".join(b"X-%d: 1\r\n" % n for n in range(500))
    reply_to(guarded, head + trailers)
    assert refusals(guarded, "headers_too_large") == before + 1


def test_a_head_that_trickles_is_cut_off(guarded: RunningServer) -> None:
    for opening in (b"", GET, b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"):
        with dial(guarded) as line:
            line.sendall(opening)
            started_s = time.monotonic()
            while not is_closed(line) and time.monotonic() < started_s + 15:
                try:
                    line.sendall(b"\r\n" if opening.endswith(b"\r\n\r\n") else b"a")
                except (BrokenPipeError, ConnectionResetError):
                    break
                time.sleep(0.2)
            assert time.monotonic() < started_s + 15


def test_connections_without_a_request_give_way_to_those_with_one(guarded: RunningServer) -> None:
    lines = [dial(guarded) for _ in range(150)]
    try:
        assert answers(guarded.url)
        # Only so many are kept, whatever their deadline; the oldest went first.
        assert eventually(lambda: sum(not is_closed(line) for line in lines) <= 20)
    finally:
        for line in lines:
            line.close()


def test_a_connection_that_serves_requests_is_kept(guarded: RunningServer) -> None:
    with httpx.Client(base_url=guarded.url) as client:
        first = client.get("/live").extensions["network_stream"]
        for _ in range(4):
            time.sleep(0.4)
            assert client.get("/live").extensions["network_stream"] is first


def test_a_heap_of_pipelined_requests_is_not_gathered(guarded: RunningServer) -> None:
    request = b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    assert reply_to(guarded, request * 2000).count(b"200 OK") <= 17
    assert answers(guarded.url)
    assert (
        reply_to(guarded, request * 4 + b"GET /live HTTP/1.0\r\nHost: localhost\r\n\r\n").count(
            b"200 OK"
        )
        == 5
    )


def test_a_reply_that_nobody_reads_gives_its_place_back(guarded: RunningServer) -> None:
    body = b'{"codes":[[1,2]' + b",[1,2]" * 20_000 + b"]}"
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect(("127.0.0.1", guarded.port))
        head = b"POST /v1/decode HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(
            body
        )
        line.sendall(head + body)
        requests = guarded.service.admission
        assert eventually(lambda: requests.requests == 1)
        assert eventually(lambda: requests.requests == 0, seconds=60)
