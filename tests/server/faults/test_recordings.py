"""WebM and M4A from browsers and telephones: read in the sandbox, whole or refused."""

import io
import random
import struct
import sys
from pathlib import Path

import pytest
import soundfile
from running import RunningServer

sys.path.insert(0, str(Path(__file__).parents[2] / "codec"))

from media_cases import RECORDINGS, recording, tones


def refusal(server: RunningServer, body: bytes, status: int) -> dict[str, str]:
    reply = server.client.post("/v1/encode", content=body)
    assert reply.status_code == status, reply.text
    found: dict[str, str] = reply.json()
    return found


@pytest.mark.parametrize("output", ["wav", "flac", "ogg"])
@pytest.mark.parametrize("case", RECORDINGS, ids=lambda case: case[0])
def test_every_recording_is_read_whole_in_every_output(
    server: RunningServer, case: tuple[str, str, str, int, int], output: str
) -> None:
    name, container, codec, rate_hz, channels = case
    pcm = tones(rate_hz, channels)
    reply = server.client.post(
        f"/v1/transcode?format={output}", content=recording(pcm, rate_hz, container, codec)
    )
    assert reply.status_code == 200, (name, reply.text)
    samples, told_hz = soundfile.read(io.BytesIO(reply.content))
    assert told_hz == 24_000
    assert len(samples) == soundfile.info(io.BytesIO(reply.content)).frames
    assert len(samples) == pytest.approx(len(pcm) * 24_000 / rate_hz, abs=2)


def test_a_recording_may_be_a_job(server: RunningServer) -> None:
    body = recording(tones(48_000, 1), 48_000, "webm", "libopus", {"live": "1"})
    job = server.client.post("/v1/jobs?operation=encode", content=body).json()
    events = server.client.get(f"{job['links']['events']}").text
    assert "event: done" in events
    result = server.client.get(f"/v1/jobs/{job['id']}/result").content
    assert result == server.client.post("/v1/encode", content=body).content


def test_without_the_extra_it_is_415_and_says_so(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = [recording(tones(48_000, 1), 48_000, kind, "libopus") for kind in ("webm", "mp4")]
    monkeypatch.setitem(sys.modules, "av", None)
    for body in bodies:
        said = refusal(server, body, 415)
        assert said["code"] == "unsupported_media"
        assert "PyAV (the extra `media`) is not installed here" in said["detail"]
        assert "convert it first" in said["hint"]


def test_a_recording_that_is_cut_is_refused(server: RunningServer) -> None:
    # Short ones: of a long one the reply has begun, and breaks off.
    for kind, options in (("webm", {}), ("mp4", {"movflags": "faststart"})):
        body = recording(tones(48_000, 1, 1.2), 48_000, kind, "libopus", options)
        for share in (0.3, 0.9):
            assert refusal(server, body[: int(len(body) * share)], 422)["code"] == "bad_content"


def test_damaged_recordings_are_4xx_and_the_server_lives(server: RunningServer) -> None:
    chance = random.Random(13)
    statuses = set()
    for kind, codec in (("webm", "libopus"), ("mp4", "aac"), ("mp4", "alac")):
        body = recording(tones(48_000, 1, 0.5), 48_000, kind, codec)
        for _ in range(30):
            broken = bytearray(body)
            for _ in range(chance.randint(1, 20)):
                broken[chance.randrange(8, len(broken))] = chance.randrange(256)
            reply = server.client.post("/v1/transcode", content=bytes(broken))
            statuses.add(reply.status_code)
            assert " at 0x" not in reply.text[:500]
    assert statuses == {200, 422}
    assert server.client.get("/live").status_code == 200


def test_a_table_of_two_thousand_million_samples_costs_its_own_request(
    server: RunningServer,
) -> None:
    body = bytearray(recording(tones(48_000, 1), 48_000, "mp4", "aac"))
    at = body.index(b"stsz") + 8
    body[at : at + 8] = struct.pack(">II", 1, 2**31 - 1)
    assert refusal(server, bytes(body), 422)["code"] == "bad_content"
    good = recording(tones(48_000, 1), 48_000, "mp4", "aac")
    assert server.client.post("/v1/encode", content=good).status_code == 200
