"""Jobs on a disk that is small, full, damaged, or was left in the middle of something."""

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from hostile_cases import eventually
from processes import Process, running
from running import RunningServer, make_settings, noise, wav_bytes

SECOND = wav_bytes(noise(24_000))
ENDED = ("done", "failed", "cancelled")


def create(url: str, content: bytes, query: str = "operation=transcode&format=raw") -> str:
    reply = httpx.post(f"{url}/v1/jobs?{query}", content=content, timeout=30)
    assert reply.status_code == 202, reply.text
    return url + reply.headers["location"]


def ended(location: str) -> dict[str, object]:
    """Wait for the end of a job and return it."""
    found: dict[str, object] = {}

    def has_ended() -> bool:
        found.update(httpx.get(location, timeout=30).json())
        return found["state"] in ENDED

    assert eventually(has_ended, seconds=60), found
    return found


def test_what_does_not_fit_is_refused_with_what_is_left(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, job_bytes_per_caller=100_000, job_disk_reserve_bytes=0)
    with RunningServer(settings) as server:
        create(server.url, SECOND)
        reply = httpx.post(
            f"{server.url}/v1/jobs?operation=encode", content=wav_bytes(noise(48_000))
        )
        said = reply.json()
        assert (reply.status_code, said["code"]) == (507, "insufficient_storage")
        assert 0 < said["left_bytes"] < 100_000
        assert len(list((tmp_path / "jobs").iterdir())) == 1


def test_a_disk_with_too_little_left_takes_no_jobs(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, job_disk_reserve_bytes=2**60)
    with RunningServer(settings) as server:
        reply = httpx.post(f"{server.url}/v1/jobs?operation=encode", content=SECOND)
        assert (reply.status_code, reply.json()["left_bytes"]) == (507, 0)
        assert list((tmp_path / "jobs").iterdir()) == []


def test_a_result_beyond_the_quota_fails_its_job_and_frees_its_room(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, job_bytes_per_caller=400_000, job_disk_reserve_bytes=0)
    with RunningServer(settings) as server:
        tokens = b'{"codes":[[1,2]' + b",[1,2]" * 40_000 + b"]}"
        location = create(server.url, tokens, "operation=decode&format=raw")
        job = ended(location)
        assert (job["state"], job["error_code"]) == ("failed", "insufficient_storage")
        assert sum(path.stat().st_size for path in (tmp_path / "jobs").rglob("*")) < 10_000
        assert ended(create(server.url, SECOND))["state"] == "done"


def test_a_damaged_record_hides_no_other_job(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    with RunningServer(settings) as server:
        locations = [create(server.url, SECOND) for _ in range(3)]
        for location in locations:
            ended(location)
        with closing(sqlite3.connect(tmp_path / "jobs.db")) as base, base:
            base.execute("UPDATE jobs SET job = '{\"id\": 5' WHERE id = ?", (locations[1][-16:],))
        listed = httpx.get(f"{server.url}/v1/jobs")
        assert [job["id"] for job in listed.json()] == [locations[0][-16:], locations[2][-16:]]
        assert httpx.get(locations[1]).status_code == 404


def test_a_damaged_database_is_laid_aside_and_the_service_starts(tmp_path: Path) -> None:
    (tmp_path / "jobs.db").write_bytes(b"this is no database" * 1000)
    with RunningServer(make_settings(tmp_path)) as server:
        assert ended(create(server.url, SECOND))["state"] == "done"
    assert list(tmp_path.glob("jobs.db.damaged-*"))


def test_a_result_that_was_taken_away_is_not_found(tmp_path: Path) -> None:
    with RunningServer(make_settings(tmp_path)) as server:
        location = create(server.url, SECOND)
        ended(location)
        for path in (tmp_path / "jobs").glob("*/result"):
            path.unlink()
        reply = httpx.get(f"{location}/result")
        assert (reply.status_code, reply.json()["code"]) == (404, "not_found")
        assert httpx.delete(location).status_code == 200


@pytest.mark.slow
def test_jobs_of_a_worker_that_was_killed_run_again(tmp_path: Path) -> None:
    long = wav_bytes(noise(24_000 * 120))
    with running(tmp_path) as server:
        locations = [create(server.url, long) for _ in range(2)]
        assert eventually(lambda: httpx.get(locations[0]).json()["state"] == "running")
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()
    with running(tmp_path) as again:
        for location in locations:
            job = ended(again.url + location[location.index("/v1") :])
            assert (job["state"], job["result_bytes"]) == ("done", 24_000 * 120 * 2)


def test_a_job_that_kills_its_worker_does_not_do_so_for_ever(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    with RunningServer(settings) as server:
        location = create(server.url, SECOND)
        ended(location)
    path = location[location.index("/v1") :]
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as base, base:
        (record,) = base.execute("SELECT job FROM jobs").fetchone()
        record = json.dumps({**json.loads(record), "state": "running"}).encode()
        change = "UPDATE jobs SET state = 'running', worker = 'gone', attempts = 3, job = ?"
        base.execute(change, (record,))
    with RunningServer(settings) as server:
        job = httpx.get(server.url + path).json()
        assert (job["state"], job["error_code"]) == ("failed", "internal_error")


def test_the_same_idempotency_key_finds_the_job_after_a_restart(tmp_path: Path) -> None:
    settings, key = make_settings(tmp_path), {"Idempotency-Key": "once"}

    def post(server: RunningServer) -> str:
        url = f"{server.url}/v1/jobs?operation=encode"
        return httpx.post(url, content=SECOND, headers=key).headers["location"]

    with RunningServer(settings) as server:
        first = post(server)
    with RunningServer(settings) as server:
        assert post(server) == first
        assert ended(server.url + first)["state"] == "done"
        assert len(httpx.get(f"{server.url}/v1/jobs").json()) == 1


def test_events_tell_a_job_from_start_to_end(tmp_path: Path) -> None:
    with RunningServer(make_settings(tmp_path)) as server:
        location = create(server.url, wav_bytes(noise(24_000 * 60)))
        with httpx.stream("GET", f"{location}/events", timeout=60) as reply:
            assert reply.headers["content-type"].startswith("text/event-stream")
            lines = list(reply.iter_lines())
        names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
        told = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
        assert names[-1] == "done"
        assert told[-1]["percent"] == 100
        assert told[-1]["expires_at"] > time.time()
        assert {job["seconds_total"] for job in told if job["state"] == "done"} == {60}


# --- a disk that is really full -------------------------------------------------------------


@contextmanager
def on_a_small_disk(tmp_path: Path, megabytes: int) -> Iterator[Path]:
    """Mount a file system of its own; needs to be root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path, leaving_bytes: int = 0) -> Path:
    filler = disk / "filler"
    usage = os.statvfs(disk)
    left = usage.f_bavail * usage.f_frsize - leaving_bytes
    with filler.open("wb") as file:
        while left > 0:
            left -= file.write(bytes(min(left, 1 << 16)))
            file.flush()
    return filler


def jobs_of(server: Process) -> list[dict[str, object]]:
    reply = httpx.get(f"{server.url}/v1/jobs", timeout=30)
    assert reply.status_code == 200, reply.text
    jobs: list[dict[str, object]] = reply.json()
    return jobs


@pytest.mark.slow
def test_a_full_disk_fails_jobs_and_lets_itself_be_cleared(tmp_path: Path) -> None:
    with on_a_small_disk(tmp_path, 12) as disk:
        changes = {"GROVE_STATE_DIR": str(disk / "state"), "GROVE_JOB_DISK_RESERVE_BYTES": "0"}
        with running(tmp_path, **changes) as server:
            kept = create(server.url, SECOND)
            assert ended(kept)["state"] == "done"
            filler = fill(disk, leaving_bytes=200_000)
            tokens = b'{"codes":[[1,2]' + b",[1,2]" * 10_000 + b"]}"
            failing = create(server.url, tokens, "operation=decode&format=raw")
            job = ended(failing)
            assert (job["state"], job["error_code"]) == ("failed", "insufficient_storage")
            filler.unlink()
            filler = fill(disk)
            reply = httpx.post(f"{server.url}/v1/jobs?operation=encode", content=SECOND)
            assert reply.status_code == 507
            assert len(jobs_of(server)) == 2
            assert httpx.delete(failing, timeout=30).status_code == 200
            assert httpx.delete(kept, timeout=30).status_code == 200
            assert jobs_of(server) == []
            filler.unlink(missing_ok=True)
            lasting = create(server.url, SECOND)
            assert ended(lasting)["state"] == "done"
            filler = fill(disk)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(30) == 0
        with running(tmp_path, **changes) as again:
            assert [job["state"] for job in jobs_of(again)] == ["done"]
            location = again.url + lasting[lasting.index("/v1") :]
            assert httpx.delete(location, timeout=30).status_code == 200
            assert jobs_of(again) == []
