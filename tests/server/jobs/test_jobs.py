"""`/v1/jobs`, and what survives a restart."""

import time

import httpx
import pytest
from fake_codec import SPEC, FakeCodec
from running import RunningServer, make_settings, noise, wav_bytes

from grove.codec.arrays import F32, U16
from grove.server.models import Model


class SlowCodec(FakeCodec):
    """Takes ten milliseconds a step."""

    def encode_step(self, pcm: F32, state: F32) -> tuple[U16, F32]:
        time.sleep(0.01)
        return super().encode_step(pcm, state)


def load_slow(name: str, threads: int) -> Model:
    assert (name, threads) == ("fake-24k", 1)
    return Model(SlowCodec(), frozenset({SPEC.model_sha256}))


ENDED = ("done", "failed", "cancelled")


def create(server: RunningServer, content: bytes, query: str = "operation=encode", **headers: str):  # noqa: ANN201
    return server.client.post(f"/v1/jobs?{query}", content=content, headers=headers)


def ended(server: RunningServer, location: str) -> dict:
    """Wait for the end of a job and return it."""
    for _ in range(400):
        job = server.client.get(location).json()
        if job["state"] in ENDED:
            return job
        time.sleep(0.02)
    raise AssertionError(f"the job is still {job['state']}")


def result(server: RunningServer, location: str, **headers: str) -> httpx.Response:
    return server.client.get(f"{location}/result", headers=headers)


def test_a_job_gives_what_the_direct_request_gives(server: RunningServer) -> None:
    data = wav_bytes(noise(24_000))
    accepted = create(server, data)
    assert accepted.status_code == 202
    location = accepted.headers["location"]
    job = ended(server, location)
    assert (job["state"], job.get("error")) == ("done", None)
    assert job["seconds_done"] == pytest.approx(1.02)
    assert job["links"]["result"] == f"{location}/result"
    assert (
        result(server, location).content == server.client.post("/v1/encode", content=data).content
    )


def test_ranges_of_a_result_can_be_asked_for(server: RunningServer) -> None:
    data = wav_bytes(noise(24_000))
    location = create(server, data, "operation=transcode&format=raw").headers["location"]
    ended(server, location)
    whole = result(server, location).content
    part = result(server, location, Range="bytes=100-199")
    assert (part.status_code, part.content) == (206, whole[100:200])
    outside = result(server, location, Range="bytes=99999999-")
    assert outside.status_code == 416
    assert outside.json()["code"] == "range_not_satisfiable"


def test_a_job_without_a_result_says_so(server: RunningServer) -> None:
    bad = wav_bytes(noise(1000))[:-100]
    location = create(server, bad).headers["location"]
    job = ended(server, location)
    assert (job["state"], job["error_code"]) == ("failed", "bad_content")
    assert "truncated" in job["error"]
    reply = result(server, location)
    assert (reply.status_code, reply.json()["code"]) == (409, "conflict")


def test_an_idempotency_key_makes_one_job_of_two_requests(server: RunningServer) -> None:
    data = wav_bytes(noise(2000))
    key = {"Idempotency-Key": "once"}
    first, second = create(server, data, **key), create(server, data, **key)
    assert first.headers["location"] == second.headers["location"]
    other = create(server, wav_bytes(noise(2001)), **key)
    assert (other.status_code, other.json()["code"]) == (422, "invalid_parameter")


def test_a_job_needs_a_length_and_an_operation(server: RunningServer) -> None:
    data = wav_bytes(noise(100))
    chunked = server.client.post("/v1/jobs?operation=encode", content=iter([data]))
    assert (chunked.status_code, chunked.json()["code"]) == (411, "length_required")
    assert create(server, data, "").status_code == 422
    assert create(server, data, "operation=encode&format=wav").status_code == 422
    assert create(server, b"text, no audio").status_code == 415


@pytest.mark.parametrize("job_id", ["0123456789abcdef", "..", "%2e%2e%2fjobs", "new-1"])
def test_jobs_that_are_not_there_are_not_found(server: RunningServer, job_id: str) -> None:
    for reply in (
        server.client.get(f"/v1/jobs/{job_id}"),
        server.client.get(f"/v1/jobs/{job_id}/result"),
        server.client.delete(f"/v1/jobs/{job_id}"),
    ):
        assert reply.status_code == 404 or job_id == ".."


def test_a_running_job_can_be_cancelled_and_then_dropped(server: RunningServer) -> None:
    location = create(server, wav_bytes(noise(24_000 * 100))).headers["location"]
    assert server.client.delete(location).json()["state"] in ("cancelled", "done")
    assert ended(server, location)["state"] in ("cancelled", "done")
    assert server.client.delete(location).status_code == 200
    assert server.client.get(location).status_code == 404


def test_a_restart_keeps_what_is_done_and_goes_on_with_what_is_not(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    settings = make_settings(tmp_path_factory.mktemp("state"))
    with RunningServer(settings, load_slow) as server:
        done = create(server, wav_bytes(noise(4800))).headers["location"]
        ended(server, done)
        expected = result(server, done).content
        # Two long ones: one is being worked on, the other waits.
        data = wav_bytes(noise(24_000 * 30))
        unfinished = [create(server, data).headers["location"] for _ in range(2)]
    with RunningServer(settings) as server:
        assert result(server, done).content == expected
        assert {ended(server, location)["state"] for location in unfinished} == {"done"}
        direct = server.client.post("/v1/encode", content=data).content
        assert [result(server, location).content for location in unfinished] == [direct] * 2
        assert len(server.client.get("/v1/jobs").json()) == 3


def test_expired_jobs_go(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = make_settings(tmp_path_factory.mktemp("state"), job_expiry_seconds=0.4)
    with RunningServer(settings) as server:
        location = create(server, wav_bytes(noise(480))).headers["location"]
        for _ in range(200):
            if server.client.get(location).status_code == 404:
                break
            time.sleep(0.02)
        assert server.client.get(location).status_code == 404
        assert list((settings.state_dir / "jobs").iterdir()) == []


def test_a_caller_may_keep_only_so_many_jobs(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = make_settings(tmp_path_factory.mktemp("state"), jobs_per_caller=1)
    with RunningServer(settings) as server:
        assert create(server, wav_bytes(noise(480))).status_code == 202
        reply = create(server, wav_bytes(noise(480)))
        assert (reply.status_code, reply.json()["code"]) == (429, "too_many_requests")


def test_decoding_jobs_take_the_model_of_the_tokens(server: RunningServer) -> None:
    data = wav_bytes(noise(4800))
    tokens = server.client.post("/v1/encode", content=data).content
    location = create(server, tokens, "operation=decode&format=raw").headers["location"]
    assert ended(server, location)["model_sha256"] == SPEC.model_sha256
    direct = server.client.post("/v1/transcode?format=raw", content=data).content
    assert result(server, location).content == direct
