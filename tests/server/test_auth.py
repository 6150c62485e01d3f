"""Keys, tokens, origins, and limits per caller."""

import hashlib
import time
from collections.abc import Iterator

import pytest
from pydantic import ValidationError
from running import RunningServer, make_settings, noise, wav_bytes
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from grove.server.auth import Gate
from grove.server.settings import Settings

KEY = "a-long-secret"
ENTRY = f"alice:{hashlib.sha256(KEY.encode()).hexdigest()}"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    settings = make_settings(
        tmp_path_factory.mktemp("state"),
        api_keys=(ENTRY, "bob:" + "0" * 64),
        sessions_per_key=2,
        allowed_origins=("https://app.example",),
    )
    with RunningServer(settings) as running:
        yield running


@pytest.mark.parametrize("header", [{"Authorization": f"Bearer {KEY}"}, {"X-API-Key": KEY}])
def test_a_key_lets_in(guarded: RunningServer, header: dict[str, str]) -> None:
    reply = guarded.client.post("/v1/encode", content=wav_bytes(noise(100)), headers=header)
    assert reply.status_code == 200


@pytest.mark.parametrize("header", [{}, {"X-API-Key": "wrong"}, {"Authorization": "Basic eA=="}])
def test_without_a_right_key_nothing_is_done(
    guarded: RunningServer, header: dict[str, str]
) -> None:
    for method, path in (("POST", "/v1/encode"), ("GET", "/v1/jobs"), ("GET", "/v1/models")):
        reply = guarded.client.request(method, path, headers=header)
        assert (reply.status_code, reply.json()["code"]) == (401, "unauthorized")
        assert reply.headers["www-authenticate"] == "Bearer"


def test_health_and_metrics_need_no_key(guarded: RunningServer) -> None:
    for path in ("/health", "/live", "/ready", "/version", "/metrics"):
        assert guarded.client.get(path).status_code == 200


def test_a_socket_without_a_key_is_refused_before_it_opens(guarded: RunningServer) -> None:
    with pytest.raises(InvalidStatus) as refused, guarded.connect():
        pass
    assert refused.value.response.status_code == 401
    assert b'"unauthorized"' in refused.value.response.body


def test_a_browser_brings_its_key_as_a_subprotocol(guarded: RunningServer) -> None:
    offered = [Subprotocol("grove.v1"), Subprotocol(f"grove.key.{KEY}")]
    with guarded.connect(subprotocols=offered) as socket:
        assert "session.created" in socket.recv(timeout=5)
        assert socket.subprotocol == "grove.v1"


def test_a_short_lived_token_stands_for_its_key(guarded: RunningServer) -> None:
    reply = guarded.client.post("/v1/tokens", headers={"X-API-Key": KEY})
    token = reply.json()["token"]
    assert reply.json()["seconds"] == 300
    offered = [Subprotocol(f"grove.key.{token}")]
    with guarded.connect(subprotocols=offered) as socket:
        assert "session.created" in socket.recv(timeout=5)
    # But it makes no further tokens.
    again = guarded.client.post("/v1/tokens", headers={"X-API-Key": token})
    assert again.status_code == 401


def test_a_token_expires_and_cannot_be_forged() -> None:
    settings = Settings(api_keys=(ENTRY,), token_secret="s" * 32, token_seconds=1)
    gate = Gate(settings)
    token = gate.make_token("alice")
    assert gate.caller({"x-api-key": token}, (), "::1").name == "alice"
    for wrong in (
        token[:-1] + ("0" if token[-1] != "0" else "1"),
        token.replace("alice", "bob"),
        "gt_",
    ):
        with pytest.raises(Exception, match="an API key is needed"):
            gate.caller({"x-api-key": wrong}, (), "::1")
    time.sleep(2.01)
    with pytest.raises(Exception, match="an API key is needed"):
        gate.caller({"x-api-key": token}, (), "::1")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_foreign_origins_are_refused_before_the_socket_opens(
    server: RunningServer, origin: str
) -> None:
    with pytest.raises(InvalidStatus) as refused, server.connect(origin=Origin(origin)):
        pass
    assert refused.value.response.status_code == 403


def test_own_and_listed_origins_are_let_in(guarded: RunningServer) -> None:
    own = f"http://127.0.0.1:{guarded.port}"
    for origin in (own, "https://app.example"):
        with guarded.connect(
            origin=Origin(origin), additional_headers={"X-API-Key": KEY}
        ) as socket:
            assert "session.created" in socket.recv(timeout=5)


def test_a_key_has_only_so_many_sessions(guarded: RunningServer) -> None:
    header = {"X-API-Key": KEY}
    with guarded.connect(additional_headers=header) as first:
        first.recv(timeout=5)
        with guarded.connect(additional_headers=header) as second:
            second.recv(timeout=5)
            with guarded.connect(additional_headers=header) as third:
                assert "too_many_sessions" in third.recv(timeout=5)


def test_keys_are_needed_beyond_loopback() -> None:
    with pytest.raises(ValidationError, match="without API keys"):
        Settings(host="0.0.0.0")
    assert Settings(host="0.0.0.0", allow_anonymous=True).host == "0.0.0.0"
    assert Settings(host="0.0.0.0", api_keys=(ENTRY,)).api_keys == (ENTRY,)
    assert Settings(host="::1").host == "::1"


def test_a_key_in_clear_is_refused_without_repeating_it() -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(api_keys=("alice:hunter2",))
    assert "must be written as name:sha256" in str(refused.value)
