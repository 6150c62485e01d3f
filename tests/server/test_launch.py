"""Whole processes: imports, signals, several workers, and a worker that is killed."""

import contextlib
import json
import os
import signal
import socket as sockets
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from processes import HERE, running
from running import audio_packet, noise, texts_until_close
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from grove.codec.sound.pcm import encode_pcm


def created(socket: ClientConnection) -> dict:
    return json.loads(socket.recv(timeout=10))


@pytest.mark.parametrize(
    "module",
    ["grove.server.app", "grove.server.launch", "grove.server.sandbox.process", "grove.tools.load"],
)
def test_the_serving_path_never_imports_torch(module: str) -> None:
    code = f"import sys, {module}; assert not {{'torch', 'training'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=HERE.parent.parent)


def test_sigterm_drains_and_exits_with_status_0(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        with server.connect("mode=encode") as socket:
            created(socket)
            server.process.send_signal(signal.SIGTERM)
            assert created(socket)["type"] == "session.draining"
            socket.send(audio_packet(0, bytes(960)))
            assert isinstance(socket.recv(timeout=5), bytes)
            assert server.process.poll() is None
        assert server.process.wait(10) == 0
        events = server.events()
    assert [one["event"] for one in events if one["event"].startswith("drain")] == [
        "draining",
        "drained",
    ]


def test_logs_are_json_and_hold_neither_keys_nor_resume_tokens(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        httpx.post(
            f"{server.url}/v1/encode?model=none", content=b"x", headers={"X-API-Key": "my-key"}
        )
        with server.connect("mode=encode") as socket:
            token = created(socket)["resume"]["token"]
        with server.connect(f"resume={token}") as socket:
            created(socket)
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(10)
        text, events = server.log.read_text(), server.events()
    assert {"listening", "ready", "request", "session_opened"} <= {one["event"] for one in events}
    assert all({"level", "timestamp"} <= set(one) for one in events)
    assert any("request_id" in one for one in events)
    assert "my-key" not in text
    assert token not in text


@pytest.mark.slow
def test_a_killed_worker_costs_its_own_sessions_only_and_comes_back(tmp_path: Path) -> None:
    with running(tmp_path, workers=2) as server, contextlib.ExitStack() as stack:
        before = server.worker_pids()
        assert len(before) == 2
        by_worker: dict[str, ClientConnection] = {}
        for _ in range(100):
            socket = stack.enter_context(server.connect("mode=encode"))
            by_worker.setdefault(created(socket)["resume"]["token"].split(".")[0], socket)
            if len(by_worker) == 2:
                break
            time.sleep(0.05)
        (victim, lost), (_, kept) = by_worker.items()
        os.kill(int(victim.removeprefix("w")), signal.SIGKILL)
        with pytest.raises(ConnectionClosed):
            lost.recv(timeout=10)
        kept.send(audio_packet(0, bytes(960)))
        assert isinstance(kept.recv(timeout=10), bytes)
        for _ in range(200):
            if len(server.worker_pids()) == 2 and server.worker_pids() != before:
                break
            time.sleep(0.05)
        assert len(server.worker_pids() - before) == 1
        server.wait_ready()


@pytest.mark.slow
def test_any_worker_takes_a_resume_and_metrics_add_up(tmp_path: Path) -> None:
    samples = noise(480 * 8)
    data = encode_pcm(samples, "s16le")
    with running(tmp_path, workers=2) as server:
        for _ in range(6):  # whichever worker gets which connection
            with server.connect("mode=encode") as socket:
                token = created(socket)["resume"]["token"]
                socket.send(audio_packet(0, data[:960]))
                socket.recv(timeout=5)
                socket.socket.shutdown(sockets.SHUT_RDWR)
            with server.connect(f"resume={token}&received=1") as socket:
                assert created(socket)["next_sequence"] == 1
                socket.send(audio_packet(1, data[960:]))
                socket.send('{"type":"finalize"}')
                assert json.loads(texts_until_close(socket)[-1])["frames"] == 9
                assert socket.close_code == 1000
        text = httpx.get(f"{server.url}/metrics").text
        assert 'grove_sessions_opened_total{mode="encode"} 6.0' in text
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(15) == 0


def test_a_server_that_cannot_start_says_why_and_fails(tmp_path: Path) -> None:
    script = "import sys; from grove.server.launch import serve; "
    script += "from grove.server.settings import Settings\n"
    script += "sys.exit(serve(Settings(bundles=('no-such-bundle',), port=0)))"
    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=HERE.parent.parent,
        env={**os.environ, "GROVE_STATE_DIR": str(tmp_path)},
        timeout=60,
        check=False,
    )
    assert ended.returncode != 0
    assert "no bundle no-such-bundle" in ended.stderr
