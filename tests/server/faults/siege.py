"""Throws the faults at a running server, round after round: `python siege.py PORT SECONDS [PAUSE]`.

Run `python -m grove.tools.load` beside it to see what live streams notice.
"""

import contextlib
import json
import socket
import sys
import threading
import time

import httpx
from hostile_cases import hang_up_within, raise_descriptor_limit
from running import noise, wav_bytes

_HALF_OPEN = 1000


def round_of_faults(port: int, long_wav: bytes, tokens: bytes) -> None:
    """An Ogg hang-up, a large damaged token body, an endless head, and half-open connections."""
    lines = []
    with contextlib.ExitStack() as stack:
        for _ in range(_HALF_OPEN):
            with contextlib.suppress(OSError):
                line = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
                line.sendall(b"GET /live HTTP/1.1\r\nX-")
                lines.append(line)
        bodies = threading.Thread(target=_post, args=(port, tokens))
        bodies.start()
        hang_up_within(port, "/v1/transcode?format=ogg", long_wav, 1.0)
        with contextlib.suppress(OSError):
            endless = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            for _ in range(64):
                endless.sendall(b"GET /live HTTP/1.1\r\nX-Long: " + b"a" * 65_536)
        bodies.join()


def _post(port: int, tokens: bytes) -> None:
    with contextlib.suppress(httpx.HTTPError):
        httpx.post(f"http://127.0.0.1:{port}/v1/decode", content=tokens, timeout=120)


def besiege(port: int, seconds: float, pause_s: float = 10) -> int:
    """Throw rounds of faults for a time, and return how many."""
    raise_descriptor_limit()
    long_wav = wav_bytes(noise(24_000 * 120))
    # Whole but for its last byte: all of it is read before it is refused.
    tokens = json.dumps({"codes": [[1, 2, 3, 4, 5, 6]] * 150_000}).encode()[:-1]
    rounds, until_s = 0, time.monotonic() + seconds
    while time.monotonic() < until_s:
        started_s = time.monotonic()
        round_of_faults(port, long_wav, tokens)
        rounds += 1
        time.sleep(max(0.0, min(pause_s - (time.monotonic() - started_s), until_s - started_s)))
    return rounds


if __name__ == "__main__":
    pause = float(sys.argv[3]) if len(sys.argv) > 3 else 10
    print(besiege(int(sys.argv[1]), float(sys.argv[2]), pause), "rounds")  # noqa: T201
