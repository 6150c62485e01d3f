"""What hostile and careless clients do, as far as no well-behaved client library can."""

import resource
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx


def hang_up_within(port: int, path: str, body: bytes, seconds: float) -> None:
    """Post a body whole, read what comes for a while, and be gone in the middle of the reply."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
        line.sendall(head.encode() + body)
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            line.settimeout(left_s)
            try:
                if not line.recv(65_536):
                    return
            except TimeoutError:
                return


def raise_descriptor_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))


def resident_mb(pid: int) -> float:
    """Return the memory of one process, as the system counts it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {pid} is gone")


def tree_mb(pid: int) -> float:
    """Return the memory of a process and of all that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return resident_mb(pid) + sum(tree_mb(int(child)) for child in children)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/live", timeout=20).status_code == 200
    except httpx.HTTPError:
        return False


def eventually(holds: Callable[[], bool], seconds: float = 20) -> bool:
    """Tell whether something comes to hold; the limit is for a server that hangs."""
    until_s = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until_s:
            return False
        time.sleep(0.02)
    return True
