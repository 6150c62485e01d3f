"""Clients that leave in the middle of a reply, of a job, or of an upload."""

import os
import signal
from pathlib import Path

import httpx
import pytest
from hostile_cases import answers, eventually, hang_up_within
from processes import Process, running
from running import noise, wav_bytes

LONG = wav_bytes(noise(24_000 * 60))


def requests_under_way(server: Process) -> int:
    return int(httpx.get(f"{server.url}/health").json()["requests"])


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("format=ogg", id="opus"),
        pytest.param("format=ogg&sample_rate=44100", id="vorbis", marks=pytest.mark.slow),
        pytest.param("format=flac", id="flac", marks=pytest.mark.slow),
        pytest.param("format=wav", id="wav", marks=pytest.mark.slow),
    ],
)
def test_hang_ups_in_a_reply_leave_the_server_running(tmp_path: Path, query: str) -> None:
    with running(tmp_path) as server:
        for attempt in range(8):
            path = f"/v1/transcode?{query}"
            hang_up_within(server.port, path, LONG, 0.2 + 0.013 * attempt)
        assert server.process.poll() is None, server.log.read_text()[-2000:]
        assert answers(server.url)
        # Every place was given back, and the next client gets a whole reply.
        assert eventually(lambda: requests_under_way(server) == 0)
        short = wav_bytes(noise(24_000))
        reply = httpx.post(f"{server.url}/v1/transcode?{query}", content=short, timeout=20)
        assert reply.status_code == 200


def test_a_running_ogg_job_can_be_cancelled_without_harm(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        for _ in range(3):
            query = "operation=transcode&format=ogg"
            job = httpx.post(f"{server.url}/v1/jobs?{query}", content=LONG, timeout=20)
            url = server.url + job.headers["location"]
            assert eventually(lambda url=url: httpx.get(url).json()["state"] != "queued")
            assert httpx.delete(url, timeout=20).status_code == 200
        assert server.process.poll() is None, server.log.read_text()[-2000:]
        assert answers(server.url)


def test_an_encoder_that_dies_costs_its_own_request_only(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        with httpx.stream(
            "POST", f"{server.url}/v1/transcode?format=ogg", content=LONG, timeout=20
        ) as reply:
            chunks = reply.iter_raw()
            next(chunks)
            for pid in server.sandbox_pids():
                os.kill(pid, signal.SIGKILL)
            with pytest.raises(httpx.HTTPError):
                for _ in chunks:
                    pass
        assert answers(server.url)
        short = wav_bytes(noise(24_000))
        again = httpx.post(f"{server.url}/v1/transcode?format=ogg", content=short, timeout=20)
        assert again.status_code == 200
