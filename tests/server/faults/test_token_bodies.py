"""Token files that are large, damaged, or not what they claim: read off the loop, within limits."""

import io
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from fake_codec import SPEC
from hostile_cases import tree_mb
from processes import Process, running
from running import RunningServer

FRAME = [1, 2, 3, 4, 5, 6]


def document(frames: int, **fields: object) -> bytes:
    return json.dumps({"codes": [FRAME] * frames, **fields}).encode()


def worst_lag_s(server: Process, under: Callable[[], object]) -> float:
    """Return the longest that the event loop kept anyone waiting while `under` ran."""
    worker = threading.Thread(target=under)
    worker.start()
    longest_s = 0.0
    with httpx.Client(base_url=server.url, timeout=60) as client:
        while worker.is_alive():
            started_s = time.monotonic()
            client.get("/live")
            longest_s = max(longest_s, time.monotonic() - started_s)
            time.sleep(0.02)
    worker.join()
    return longest_s


@pytest.mark.parametrize(
    "body",
    [
        b"[" + document(1)[1:],
        b'{"codes": [[1, 2],, [1, 2]]}',
        b'{"codes": [[1, 2], ]}',
        b'{"codes": [[1, 2] [1, 2]]}',
        b'{"codes": [[1, 2, "]]"]]}',
        b'{"codes": [[[1, 2]]]}',
        b'{"codes": [[1, -2]]}',
        b'{"codes": [[1, 1.5]]}',
        b'{"codes": [[1, 99999999999999999999]]}',
        b'{"codes": [1, 2]}',
        b'{"codes": {"0": [1, 2]}}',
        b'{"codes": "[[1, 2]]"}',
        b'{"codes": [[1, 2]], "codes": [[3, 4]], "samples": [}',
        b'{"codes": [[1, 2]]} trailing',
        b'{"codes": [[1, 2]], "levels": [2]}',
        b'{"codes": [[1, 2]], "levels": "1"}',
        b'{"other": [[1, 2]]}',
        b'{"codes": [[1, 2]], "deep": ' + b"[" * 100_000 + b"}",
        b'{"codes": [[1, 2]], "open": "' + b"a" * 1000,
        b"{",
        b'{"codes": ' + b"[" * 50_000,
        b'{"codes": [[' + b"1," * 100_000 + b"1]]}",
        b'{"codes": [[1, 2]], "a": "' + b"a" * (9 << 20) + b'"}',
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)
def test_what_is_no_token_document_is_refused(server: RunningServer, body: bytes) -> None:
    reply = server.client.post("/v1/decode", content=body)
    assert (reply.status_code, reply.json()["code"]) in {
        (422, "bad_content"),
        (415, "unsupported_media"),
    }


@pytest.mark.parametrize(
    "text",
    [
        '{"codes": [], "samples": 0}',
        '\n {\t"codes" :\n[ [ 1 , 2 ] ,\r\n [ 3,4 ] ]\n , "samples" : 5 }\n\n',
        '{"a": {"codes": [[9]]}, "b": "\\"codes\\": [", "codes": [[1,2],[]], "c": [{"d": 1}]}',
        '{"levels": [1, 0, 3], "codes": [[1,2],[],[1,2,3,4,5,6]]}',
    ],
)
def test_every_way_to_write_the_document_is_read(server: RunningServer, text: str) -> None:
    said = json.loads(text)
    reply = server.client.post("/v1/decode?format=raw", content=text.encode())
    assert reply.status_code == 200, reply.text
    samples = said.get("samples", max(0, len(said["codes"]) * 480 - 240))
    assert len(reply.content) == 2 * samples


def test_json_and_npy_of_many_frames_decode_alike(server: RunningServer) -> None:
    codes = np.random.default_rng(0).integers(0, 256, (20_000, 6)).astype(np.uint16)
    file = io.BytesIO()
    np.save(file, codes)
    from_npy = server.client.post("/v1/decode?format=raw", content=file.getvalue())
    text = json.dumps({"codes": codes.tolist(), "sha256": SPEC.model_sha256}, indent=1)
    from_json = server.client.post("/v1/decode?format=raw", content=text.encode())
    assert len(from_npy.content) == 2 * (20_000 * 480 - 240)
    assert from_json.content == from_npy.content


def test_frames_beyond_the_limit_on_seconds_are_refused(server: RunningServer) -> None:
    frames = int(server.settings.max_audio_seconds * SPEC.frame_rate_hz) + 1
    file = io.BytesIO()
    np.save(file, np.zeros((frames, 2), np.uint16))
    for body in (file.getvalue(), b'{"codes":[[]' + b",[]" * (frames - 1) + b"]}"):
        reply = server.client.post("/v1/decode", content=body)
        assert (reply.status_code, reply.json()["code"]) == (422, "bad_content")


@pytest.mark.slow
def test_large_token_bodies_cost_live_streams_nothing(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.save(file, np.zeros((44_000_000, 3), np.uint16))
    bodies = [document(1_500_000), document(150_000), file.getvalue()]
    with running(tmp_path) as server:
        before_mb = tree_mb(server.process.pid)
        peak_mb = [before_mb]

        def post() -> None:
            for body in bodies:
                httpx.post(f"{server.url}/v1/decode?format=json", content=body, timeout=300)
                httpx.post(f"{server.url}/v1/decode", content=body[:-3], timeout=300)
                peak_mb.append(tree_mb(server.process.pid))

        lag_s = worst_lag_s(server, post)
        # It was 8.6 s, and grew with the body; the rest is what a busy machine adds.
        assert lag_s < 2
        assert max(peak_mb) < before_mb + 400
