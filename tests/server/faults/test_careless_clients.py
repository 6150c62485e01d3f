"""What careless clients and pages elsewhere do: each gets an answer that says what is wrong."""

import hashlib
import io
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from hostile_cases import eventually
from pydantic import ValidationError
from running import RunningServer, audio_packet, make_settings, noise, texts_until_close, wav_bytes
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from grove.server.settings import Settings

SECOND = wav_bytes(noise(24_000))
ORIGIN = "https://app.example"


def entry(name: str) -> str:
    return f"{name}:{hashlib.sha256(name.encode()).hexdigest()}"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    settings = make_settings(
        tmp_path_factory.mktemp("state"),
        api_keys=(entry("alice"), entry("bob")),
        allowed_origins=(ORIGIN,),
        resume_seconds=30,
    )
    with RunningServer(settings) as running:
        yield running


def refused(reply: httpx.Response, status: int, code: str) -> dict[str, object]:
    said: dict[str, object] = reply.json()
    assert (reply.status_code, said["code"]) == (status, code), reply.text
    return said


# --- parameters -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/encode?bitrate=1"),
        ("POST", "/v1/decode?levels=1"),
        ("POST", "/v1/transcode?format=wav&x=1"),
        ("POST", "/v1/jobs?operation=encode&level=1"),
        ("GET", "/v1/jobs?state=done"),
        ("GET", "/v1/models?name=a"),
    ],
)
def test_unknown_parameters_are_refused(server: RunningServer, method: str, path: str) -> None:
    reply = server.client.request(method, path, content=SECOND)
    said = refused(reply, 422, "invalid_parameter")
    assert str(said["pointer"]).startswith("#/query/")


def test_fields_of_a_form_are_parameters(server: RunningServer) -> None:
    file = {"file": SECOND}
    by_field = server.client.post("/v1/encode", files=file, data={"levels": "1", "format": "json"})
    by_query = server.client.post("/v1/encode?levels=1&format=json", content=SECOND)
    assert by_field.json()["codes"] == by_query.json()["codes"]
    assert set(by_field.json()["levels"]) == {1}
    job = server.client.post("/v1/jobs", files=file, data={"operation": "encode", "levels": "2"})
    assert (job.status_code, job.json()["levels"]) == (202, 2)


@pytest.mark.parametrize(
    ("path", "fields", "pointer"),
    [
        ("/v1/encode", {"bitrate": "1"}, "#/form/bitrate"),
        ("/v1/encode", {"levels": "9"}, "#/query/levels"),
        ("/v1/encode", {"levels": "many"}, "#/form/levels"),
        ("/v1/encode?levels=1", {"levels": "1"}, "#/form/levels"),
        ("/v1/jobs", {"levels": "1"}, "#/query/operation"),
    ],
)
def test_wrong_fields_of_a_form_are_refused(
    server: RunningServer, path: str, fields: dict[str, str], pointer: str
) -> None:
    reply = server.client.post(path, files={"file": SECOND}, data=fields)
    assert refused(reply, 422, "invalid_parameter")["pointer"] == pointer


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=x; charset=nothing",
        "Multipart/Form-Data; boundary=x; charset=utf-16",
    ],
)
def test_damaged_forms_are_the_clients_fault(server: RunningServer, content_type: str) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="\xff\xfe"\r\n\r\n\xff\r\n--x--\r\n'
    reply = server.client.post("/v1/encode", content=body, headers={"Content-Type": content_type})
    assert 400 <= reply.status_code < 500, reply.text


# --- leaving early --------------------------------------------------------------------------


def test_a_client_that_leaves_while_uploading_is_no_fault_of_the_server(
    server: RunningServer,
) -> None:
    requests = server.service.metrics.requests

    def count(status: str) -> float:
        return requests.labels("/v1/encode", "POST", status)._value.get()

    left, faults = count("499"), count("500")
    for chunked in (False, True):
        with socket.create_connection(("127.0.0.1", server.port)) as line:
            length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 9999999"
            line.sendall(b"POST /v1/encode HTTP/1.1\r\nHost: 127.0.0.1\r\n" + length + b"\r\n\r\n")
            line.sendall(b"4\r\nRIFF\r\n" if chunked else SECOND)
            assert eventually(lambda: server.service.admission.requests == 1)
    assert eventually(lambda: count("499") == left + 2)
    assert count("500") == faults


# --- damaged containers ---------------------------------------------------------------------


@pytest.mark.parametrize("where", ["middle", "end"])
def test_a_damaged_container_is_refused_or_concealed_and_named(
    server: RunningServer, where: str
) -> None:
    whole = server.client.post("/v1/encode", content=wav_bytes(noise(24_000 * 90))).content
    damaged = bytearray(whole)
    if where == "middle":
        damaged[len(whole) // 2] ^= 0xFF
    else:
        del damaged[-2000:]
    reply = server.client.post("/v1/decode?format=raw", content=bytes(damaged))
    said = refused(reply, 422, "bad_content")
    assert "damaged" in str(said["detail"])
    assert "damage=conceal" in str(said["hint"])
    heard = server.client.post("/v1/decode?format=raw&damage=conceal", content=bytes(damaged))
    assert heard.status_code == 200
    assert heard.headers["codec-damage"]
    if where == "middle":
        assert len(heard.content) == 2 * 24_000 * 90
    undamaged = server.client.post("/v1/decode?format=raw&damage=conceal", content=whole)
    assert "codec-damage" not in undamaged.headers


def test_a_job_names_the_damage_that_it_concealed(server: RunningServer) -> None:
    damaged = bytearray(server.client.post("/v1/encode", content=SECOND).content)
    damaged[len(damaged) // 2] ^= 0xFF
    for damage, state in (("refuse", "failed"), ("conceal", "done")):
        path = f"/v1/jobs?operation=decode&damage={damage}"
        location = server.client.post(path, content=bytes(damaged)).headers["location"]
        assert eventually(
            lambda at=location: server.client.get(at).json()["state"] in ("done", "failed")
        )
        job = server.client.get(location).json()
        assert job["state"] == state
        assert bool(job.get("damage")) == (damage == "conceal")


# --- other origins and names ----------------------------------------------------------------


def test_an_allowed_origin_may_use_all_of_rest(keyed: RunningServer) -> None:
    for method, path in (("POST", "/v1/encode"), ("DELETE", "/v1/jobs/1"), ("GET", "/v1/jobs")):
        asked = {
            "Origin": ORIGIN,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "authorization, idempotency-key, content-type",
        }
        reply = keyed.client.options(path, headers=asked)
        assert reply.status_code == 200
        assert reply.headers["access-control-allow-origin"] == ORIGIN
        assert method in reply.headers["access-control-allow-methods"]
    key = {"Origin": ORIGIN, "Authorization": "Bearer alice"}
    reply = keyed.client.post("/v1/encode", content=SECOND, headers=key)
    exposed = reply.headers["access-control-expose-headers"].lower().split(", ")
    assert {"codec-model", "retry-after", "x-request-id", "location"} <= set(exposed)
    wrong = keyed.client.post("/v1/encode", content=b"", headers={"Origin": ORIGIN})
    assert wrong.headers["access-control-allow-origin"] == ORIGIN


def test_other_origins_get_no_leave_to_read(keyed: RunningServer) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    reply = keyed.client.options("/v1/encode", headers=asked)
    assert "access-control-allow-origin" not in reply.headers


def test_without_keys_on_loopback_other_names_and_origins_are_refused(
    server: RunningServer,
) -> None:
    for headers in (
        {"Host": "evil.example"},
        {"Host": f"evil.example:{server.port}", "Origin": f"http://evil.example:{server.port}"},
        {"Host": "["},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ):
        for path in ("/v1/models", "/metrics", "/"):
            refused(server.client.get(path, headers=headers), 403, "forbidden")
    for host in ("localhost", "127.0.0.1:1", "[::1]:9", "127.8.8.8"):
        assert server.client.get("/v1/models", headers={"Host": host}).status_code == 200
    url = f"ws://127.0.0.1:{server.port}/v1/stream"
    evil = Origin("http://evil.example")
    with (
        pytest.raises(InvalidStatus) as refusal,
        connect(url, origin=evil, additional_headers={"Host": "evil.example"}, proxy=None),
    ):
        pass
    assert refusal.value.response.status_code in (400, 403)


def test_names_an_operator_lists_are_answered(tmp_path: Path) -> None:
    with RunningServer(make_settings(tmp_path, allowed_hosts=("grove.lan",))) as server:
        assert server.client.get("/v1/models", headers={"Host": "grove.lan:80"}).status_code == 200


# --- the socket -----------------------------------------------------------------------------


def test_the_stream_without_an_upgrade_says_what_it_is(server: RunningServer) -> None:
    reply = server.client.get("/v1/stream")
    refused(reply, 426, "upgrade_required")
    assert reply.headers["upgrade"] == "websocket"


def test_a_key_alone_as_subprotocol_opens_a_stream(keyed: RunningServer) -> None:
    url = f"ws://127.0.0.1:{keyed.port}/v1/stream"
    with connect(url, subprotocols=[Subprotocol("grove.key.alice")], proxy=None) as socket:
        assert json.loads(socket.recv(timeout=10))["type"] == "session.created"
        assert socket.subprotocol == "grove.key.alice"
    both = [Subprotocol("grove.key.alice"), Subprotocol("grove.v1")]
    with connect(url, subprotocols=both, proxy=None) as socket:
        assert socket.subprotocol == "grove.v1"


def test_a_session_is_resumed_by_its_own_key_only(keyed: RunningServer) -> None:
    alice, bob = ({"X-API-Key": name} for name in ("alice", "bob"))
    with keyed.connect("mode=encode", additional_headers=alice) as socket:
        token = json.loads(socket.recv(timeout=10))["resume"]["token"]
        socket.send(audio_packet(0, bytes(960)))
        socket.recv(timeout=10)
        query = f"resume={token}&received=1"
        with keyed.connect(query, additional_headers=bob) as other:
            assert json.loads(texts_until_close(other)[0])["code"] == "resume_failed"
        with keyed.connect(query, additional_headers=alice) as again:
            assert json.loads(again.recv(timeout=10))["type"] == "session.resumed"


# --- small things ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/health", "/v1/models", "/v1/jobs", "/openapi.json"])
def test_head_is_answered_as_get_is_without_a_body(server: RunningServer, path: str) -> None:
    whole, head = server.client.get(path), server.client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]


def test_hints_name_only_what_a_request_can_ask_for(server: RunningServer) -> None:
    reply = server.client.post("/v1/encode", content=SECOND[:-100])
    said = refused(reply, 422, "bad_content")
    assert "hint" not in said


def test_l16_is_what_its_rfc_says(server: RunningServer) -> None:
    raw = server.client.post("/v1/transcode?format=raw&sample_rate=16000", content=SECOND)
    reply = server.client.post(
        "/v1/transcode?sample_rate=16000", content=SECOND, headers={"Accept": "audio/l16"}
    )
    assert reply.headers["content-type"] == "audio/L16;rate=16000;channels=1"
    np.testing.assert_array_equal(
        np.frombuffer(reply.content, ">i2"), np.frombuffer(raw.content, "<i2")
    )


@pytest.mark.parametrize(
    "body",
    [
        b"\x93NUMPY" + bytes(60),
        b"\x93NUMPY\x01\x00\x76\x00{'descr': '|O', 'fortran_order': False, 'shape': (3,), }".ljust(
            128
        ),
        b"fLaC" + bytes(300),
        b"OggS" + bytes(300),
        b"ID3" + bytes(300),
        b"RIFF\xff\xff\xff\xffWAVEfmt " + bytes(300),
        b"FORM\x00\x00\x00\x00AIFF" + bytes(300),
        b"\x89GRV\r\n\x1a\n" + bytes(300),
    ],
    ids=lambda body: body[:4].decode("latin-1"),
)
def test_errors_name_no_objects_of_ours(server: RunningServer, body: bytes) -> None:
    for path in ("/v1/encode", "/v1/decode"):
        reply = server.client.post(path, content=body)
        assert 400 <= reply.status_code < 500
        assert " at 0x" not in reply.text
        assert "/tmp" not in reply.text


def test_a_mistyped_setting_is_an_error_that_names_the_right_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GROVE_ALOWED_ORIGINS", "[]")
    with pytest.raises(ValidationError, match="GROVE_ALOWED_ORIGINS, expected GROVE_ALLOWED_ORIG"):
        Settings()
    monkeypatch.delenv("GROVE_ALOWED_ORIGINS")
    monkeypatch.setenv("GROVE_SERVICE_HOST", "10.0.0.1")
    Settings()


def _logged(capsys: pytest.CaptureFixture[str], route: str) -> str:
    """Return the log line of a request, which is written after its reply has gone."""
    end, text = time.monotonic() + 20, ""
    while time.monotonic() < end:
        text += capsys.readouterr().out
        if found := [line for line in text.splitlines() if route in line]:
            return found[0]
        time.sleep(0.02)
    raise AssertionError(f"no line of {route} in {text!r}")


def test_request_logs_say_who_where_and_how_much(
    keyed: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    keyed.client.post("/v1/encode", content=SECOND, headers={"X-API-Key": "alice"})
    line = _logged(capsys, "/v1/encode")
    for said in ("alice", "127.0.0.1", str(len(SECOND)), "bytes_out"):
        assert said in line
    assert io.StringIO(line).read().count("x-api-key") == 0
