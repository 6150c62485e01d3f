"""What the Python client does when a call fails: again, later, or not at all."""

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from flaky_service import Answer, flaky_service
from grove_client import AsyncGrove, Coded, FileSettings, Grove, GroveError, Job, Retries
from grove_client.calls import delete_job_call, models_call
from grove_client.retries import Attempts

AT_ONCE = Retries(first_wait_seconds=0, longest_wait_seconds=1)
BUSY = Answer(503, b"{}", {"Retry-After": "0"})
PROBLEM = {"code": "bad_content", "detail": "no audio", "hint": "send some"}
JOB = {
    "id": "1",
    "operation": "encode",
    "state": "queued",
    "model_sha256": "a",
    "levels": 1,
    "format": "grv",
    "created": 1.0,
    "seconds_done": 0.0,
    "what_a_later_server_says": [1],
}


def refusal(code: str, status: int, retry_after: float | None = None) -> GroveError:
    return GroveError(code, "", None, retry_after, status)


def test_waits_grow_to_a_bound_and_are_drawn_by_chance() -> None:
    retries = Retries(first_wait_seconds=1, longest_wait_seconds=4)
    for failed, longest in ((1, 1), (2, 2), (3, 4), (9, 4)):
        waits = {retries.wait_seconds(failed) for _ in range(300)}
        assert len(waits) > 200
        assert longest / 2 < max(waits) <= longest
        assert min(waits) < longest / 2


def test_nobody_comes_back_before_the_service_said() -> None:
    attempts = Attempts(Retries(), models_call())
    assert attempts.wait_seconds(refusal("overloaded", 503, 5)) >= 5


def test_a_longer_wait_than_one_s_own_is_left_to_the_caller() -> None:
    attempts = Attempts(Retries(longest_wait_seconds=20), models_call())
    with pytest.raises(GroveError, match="overloaded"):
        attempts.wait_seconds(refusal("overloaded", 503, 21))


def test_the_last_failure_is_raised() -> None:
    attempts = Attempts(Retries(attempts=2, first_wait_seconds=0), models_call())
    attempts.wait_seconds(refusal("overloaded", 503))
    with pytest.raises(GroveError, match="too_many_requests"):
        attempts.wait_seconds(refusal("too_many_requests", 429))


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 500, 507])
def test_what_will_not_pass_is_not_tried_again(status: int) -> None:
    with pytest.raises(GroveError):
        Attempts(Retries(), models_call()).wait_seconds(refusal("bad_content", status))


def test_a_delete_whose_answer_was_lost_is_not_repeated_but_one_that_never_left_is() -> None:
    attempts = Attempts(AT_ONCE, delete_job_call("1"))
    assert attempts.wait_seconds(httpx.ConnectError("refused")) == 0
    with pytest.raises(GroveError, match="unreachable: cut"):
        attempts.wait_seconds(httpx.ReadError("cut"))


Encode = Callable[[str, bytes | Path], bytes]


def encode_sync(url: str, source: bytes | Path) -> bytes:
    with Grove(url, retries=AT_ONCE) as grove:
        return grove.encode(source, levels=2)


def encode_async(url: str, source: bytes | Path) -> bytes:
    async def run() -> bytes:
        async with AsyncGrove(url, retries=AT_ONCE) as grove:
            return await grove.encode(source, levels=2)

    return asyncio.run(run())


@pytest.mark.parametrize("encode", [encode_sync, encode_async])
@pytest.mark.parametrize("is_path", [False, True], ids=["bytes", "path"])
def test_a_file_is_sent_whole_each_time(encode: Encode, is_path: bool, tmp_path: Path) -> None:
    audio = bytes(range(256)) * 4000
    path = tmp_path / "audio.wav"
    path.write_bytes(audio)
    cut = Answer(200, b"tokens", cut_after=3)
    with flaky_service(BUSY, cut, Answer(200, b"tokens")) as service:
        assert encode(service.url, path if is_path else audio) == b"tokens"
    assert service.bodies == [audio] * 3
    assert {asked[":line"] for asked in service.asked} == {
        "POST /v1/encode?levels=2&format=grv HTTP/1.1"
    }


@pytest.mark.parametrize("encode", [encode_sync, encode_async])
def test_a_refusal_has_its_code_hint_and_status(encode: Encode) -> None:
    with (
        flaky_service(Answer(422, json.dumps(PROBLEM).encode())) as service,
        pytest.raises(GroveError, match="no audio") as refused,
    ):
        encode(service.url, b"")
    error = refused.value
    assert (error.code, error.hint, error.status) == ("bad_content", "send some", 422)


@pytest.mark.parametrize("encode", [encode_sync, encode_async])
def test_nobody_there_is_an_error_of_ours(encode: Encode) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(GroveError, match="unreachable"):
        encode(f"http://127.0.0.1:{port}", b"")


def download_sync(url: str, target: Path) -> Coded:
    with Grove(url, retries=AT_ONCE) as grove:
        return grove.jobs.download("1", target)


def download_async(url: str, target: Path) -> Coded:
    async def run() -> Coded:
        async with AsyncGrove(url, retries=AT_ONCE) as grove:
            return await grove.jobs.download("1", target)

    return asyncio.run(run())


Download = Callable[[str, Path], Coded]


@pytest.mark.parametrize("download", [download_sync, download_async])
def test_a_result_goes_on_where_the_line_dropped(download: Download, tmp_path: Path) -> None:
    result = bytes(range(256)) * 40
    first = Answer(200, result, {"Codec-Model": "m@1"}, cut_after=5000)
    rest = Answer(206, result[5000:], {"Codec-Model": "m@1"})
    target = tmp_path / "result.wav"
    with flaky_service(first, BUSY, rest) as service:
        assert download(service.url, target).model == "m@1"
    assert target.read_bytes() == result
    assert [asked.get("Range") for asked in service.asked] == [None, *["bytes=5000-"] * 2]


@pytest.mark.parametrize("download", [download_sync, download_async])
def test_a_server_without_ranges_gives_all_of_it_once(download: Download, tmp_path: Path) -> None:
    target = tmp_path / "result.wav"
    with flaky_service(Answer(200, b"abcdef", cut_after=3), Answer(200, b"abcdef")) as service:
        download(service.url, target)
    assert target.read_bytes() == b"abcdef"


@pytest.mark.parametrize("download", [download_sync, download_async])
def test_a_file_that_did_not_come_whole_leaves_nothing(download: Download, tmp_path: Path) -> None:
    cut = Answer(200, b"abcdef", cut_after=3)
    (tmp_path / "result.wav").write_bytes(b"before")
    with flaky_service(*[cut] * 4) as service, pytest.raises(GroveError, match="unreachable"):
        download(service.url, tmp_path / "result.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["result.wav"]
    assert (tmp_path / "result.wav").read_bytes() == b"before"


def start_sync(url: str) -> Job:
    with Grove(url, retries=AT_ONCE) as grove:
        return grove.jobs.start("encode", b"audio", FileSettings(levels=1))


def start_async(url: str) -> Job:
    async def run() -> Job:
        async with AsyncGrove(url, retries=AT_ONCE) as grove:
            return await grove.jobs.start("encode", b"audio", FileSettings(levels=1))

    return asyncio.run(run())


@pytest.mark.parametrize("start", [start_sync, start_async])
def test_a_job_whose_answer_was_lost_is_not_started_twice(start: Callable[[str], Job]) -> None:
    accepted = json.dumps(JOB).encode()
    with flaky_service(Answer(202, accepted, cut_after=9), Answer(202, accepted)) as service:
        assert start(service.url).state == "queued"
    first, second = (asked["Idempotency-Key"] for asked in service.asked)
    assert first == second
    assert len(first) >= 16


def event(state: str, **more: object) -> bytes:
    return f"event: {state}\ndata: {json.dumps({**JOB, 'state': state, **more})}\n\n".encode()


EVENTS = (
    Answer(200, event("queued") + b": still there\n\n"),
    Answer(200, event("queued") + event("running", percent=5.0), cut_after=None),
    BUSY,
    Answer(200, event("running", percent=5.0) + event("done")),
)


async def states_async(url: str) -> list[str]:
    async with AsyncGrove(url, retries=AT_ONCE) as grove:
        return [job.state async for job in grove.jobs.events("1")]


def test_events_go_on_over_replies_and_tell_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grove_client.views.EVENTS_PAUSE_SECONDS", 0)
    with flaky_service(*EVENTS) as service, Grove(service.url, retries=AT_ONCE) as grove:
        assert [job.state for job in grove.jobs.events("1")] == ["queued", "running", "done"]
    with flaky_service(*EVENTS) as service:
        assert asyncio.run(states_async(service.url)) == ["queued", "running", "done"]


def wait_sync(url: str, seconds: float | None) -> Job:
    with Grove(url, retries=AT_ONCE) as grove:
        return grove.jobs.wait("1", seconds)


def wait_async(url: str, seconds: float | None) -> Job:
    async def run() -> Job:
        async with AsyncGrove(url, retries=AT_ONCE) as grove:
            return await grove.jobs.wait("1", seconds)

    return asyncio.run(run())


Wait = Callable[[str, float | None], Job]


@pytest.mark.parametrize("wait", [wait_sync, wait_async])
def test_a_job_that_failed_is_an_error_to_who_waits(wait: Wait) -> None:
    failed = event("failed", error_code="bad_content", error="no audio")
    with (
        flaky_service(Answer(200, failed)) as service,
        pytest.raises(GroveError, match="bad_content: no audio"),
    ):
        wait(service.url, None)


@pytest.mark.parametrize("wait", [wait_sync, wait_async])
def test_a_job_that_somebody_deleted_is_not_found(wait: Wait) -> None:
    with (
        flaky_service(Answer(200, b"event: deleted\ndata: {}\n\n")) as service,
        pytest.raises(GroveError, match="not_found"),
    ):
        wait(service.url, None)


@pytest.mark.parametrize("wait", [wait_sync, wait_async])
def test_waiting_has_an_end_where_one_was_named(wait: Wait) -> None:
    running = Answer(200, event("running"))
    with (
        flaky_service(*[running] * 20) as service,
        pytest.raises(TimeoutError, match=r"the job 1 has not ended after 0.2 s"),
    ):
        wait(service.url, 0.2)


def test_the_line_of_a_key_is_its_header() -> None:
    with flaky_service(Answer(200, b'{"models": []}')) as service, Grove(service.url, "k") as grove:
        assert grove.models() == []
    assert service.asked[0]["Authorization"] == "Bearer k"
