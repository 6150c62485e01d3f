"""What a caller may use a minute, and keys that change while the server runs."""

import hashlib
import json
import os
import signal
import time
from pathlib import Path

import httpx
import pytest
from processes import running
from running import RunningServer, audio_packet, make_settings, noise, texts_until_close, wav_bytes

from grove.server.allowance import Allowances
from grove.server.problems import Problem

SECOND = wav_bytes(noise(24_000))


def test_an_allowance_is_used_up_and_comes_back(tmp_path: Path) -> None:
    now_s = [0.0]
    settings = make_settings(tmp_path, seconds_per_minute=60)
    allowances = Allowances(settings, lambda: now_s[0])
    allowances.use("a", seconds=90)
    with pytest.raises(Problem) as refusal:
        allowances.check("a")
    assert refusal.value.retry_after_seconds == 31
    allowances.check("b")
    now_s[0] = 31
    allowances.check("a")
    assert allowances.headers("a") == {
        "RateLimit-Policy": '"seconds";q=60;w=60',
        "RateLimit": '"seconds";r=1;t=59',
    }


def test_without_a_limit_nothing_is_counted_or_told(tmp_path: Path) -> None:
    allowances = Allowances(make_settings(tmp_path))
    allowances.use("a", 1e12, 1e12)
    allowances.check("a")
    assert allowances.headers("a") == {}


def test_callers_that_are_full_again_are_forgotten(tmp_path: Path) -> None:
    now_s = [0.0]
    settings = make_settings(tmp_path, bytes_per_minute=60)
    allowances = Allowances(settings, lambda: now_s[0])
    for who in range(2000):
        now_s[0] += 1
        allowances.use(str(who), size_bytes=1)
    assert len(allowances._buckets) < 1100


def test_files_streams_and_jobs_share_one_allowance(tmp_path: Path) -> None:
    with RunningServer(make_settings(tmp_path, bytes_per_minute=60_000)) as server:
        first = server.client.post("/v1/encode", content=SECOND)
        assert first.status_code == 200
        assert first.headers["ratelimit-policy"] == '"bytes";q=60000;w=60'
        with server.connect("mode=encode&pace=file") as socket:
            socket.send(audio_packet(0, bytes(48_000)))
            socket.send('{"type":"finalize"}')
            texts_until_close(socket)
        for path in ("/v1/encode", "/v1/jobs?operation=encode"):
            reply = server.client.post(path, content=SECOND)
            assert (reply.status_code, reply.json()["code"]) == (429, "too_many_requests")
            assert int(reply.headers["retry-after"]) > 0
        with server.connect() as refused:
            assert json.loads(texts_until_close(refused)[0])["code"] == "too_many_sessions"


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_keys_are_read_again_on_sighup(tmp_path: Path, workers: int) -> None:
    keys = tmp_path / "keys"

    def write(*names: str) -> None:
        digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in names}
        keys.write_text("# who\n" + "".join(f"{name}:{digests[name]}\n" for name in names))

    def status(key: str) -> int:
        return httpx.get(f"{server.url}/v1/models", headers={"X-API-Key": key}).status_code

    def becomes(key: str, wanted: int) -> bool:
        for _ in range(200):
            if {status(key) for _ in range(8)} == {wanted}:
                return True
            time.sleep(0.05)
        return False

    write("alice")
    with running(tmp_path, workers, GROVE_API_KEYS_FILE=str(keys)) as server:
        assert (status("alice"), status("bob")) == (200, 401)
        write("bob")
        os.kill(server.process.pid, signal.SIGHUP)
        assert becomes("bob", 200)
        assert becomes("alice", 401)
        keys.write_text("damaged")
        os.kill(server.process.pid, signal.SIGHUP)
        assert becomes("bob", 200)
        assert server.process.poll() is None
