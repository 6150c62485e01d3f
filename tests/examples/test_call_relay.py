"""The relay of the call: packets pass as they are, rooms hold two, strangers are refused."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

FILE = Path(__file__).parents[2] / "examples" / "call" / "relay.py"
ORIGIN = {"origin": "http://testserver"}


@pytest.fixture(scope="module")
def relay() -> ModuleType:
    found = importlib.util.spec_from_file_location("relay", FILE)
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture
def client(relay: ModuleType) -> Iterator[TestClient]:
    with TestClient(relay.make_app()) as client:
        yield client


def test_the_relay_is_short_and_decodes_nothing() -> None:
    text = FILE.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
    assert "runtime" not in text
    assert "onnx" not in text


def test_packets_pass_to_the_other_one_in_the_room_and_to_nobody_else(client: TestClient) -> None:
    with (
        client.websocket_connect("/rooms/one", headers=ORIGIN) as first,
        client.websocket_connect("/rooms/one", headers=ORIGIN) as second,
        client.websocket_connect("/rooms/two", headers=ORIGIN) as elsewhere,
    ):
        assert first.receive_text() == '{"type":"joined"}'
        first.send_bytes(b"\x00packet")
        second.send_text('{"type":"ping"}')
        assert second.receive_bytes() == b"\x00packet"
        assert first.receive_text() == '{"type":"ping"}'
        with client.websocket_connect("/rooms/two", headers=ORIGIN):
            assert elsewhere.receive_text() == '{"type":"joined"}'
        assert elsewhere.receive_text() == '{"type":"left"}'


def test_a_third_one_is_refused_until_there_is_room(client: TestClient) -> None:
    with client.websocket_connect("/rooms/full", headers=ORIGIN) as first:
        with client.websocket_connect("/rooms/full", headers=ORIGIN):
            with (
                client.websocket_connect("/rooms/full", headers=ORIGIN) as third,
                pytest.raises(WebSocketDisconnect) as refusal,
            ):
                third.receive_text()
            assert refusal.value.code == 4001
        assert [first.receive_text(), first.receive_text()] == [
            '{"type":"joined"}',
            '{"type":"left"}',
        ]
        with client.websocket_connect("/rooms/full", headers=ORIGIN):
            assert first.receive_text() == '{"type":"joined"}'


@pytest.mark.parametrize("headers", [{}, {"origin": "http://elsewhere"}])
def test_pages_of_other_sites_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/rooms/one", headers=headers) as socket,
    ):
        socket.receive_text()


def test_a_room_without_a_proper_name_is_refused(client: TestClient) -> None:
    with (
        client.websocket_connect("/rooms/a%20b", headers=ORIGIN) as socket,
        pytest.raises(WebSocketDisconnect) as refusal,
    ):
        socket.receive_text()
    assert refusal.value.code == 4000


def test_who_does_not_read_gets_the_newest_packets(relay: ModuleType) -> None:
    rooms = relay.Rooms()
    sender, reader = rooms.join("room"), rooms.join("room")
    for number in range(1000):
        rooms.pass_on("room", sender, bytes([number % 256]))
    assert reader.qsize() == 100
    assert reader.get_nowait() == bytes([900 % 256])


def test_pages_are_isolated_so_that_threads_may_share_memory(client: TestClient) -> None:
    reply = client.get("/page/index.html")
    assert reply.status_code == 200
    assert reply.headers["cross-origin-opener-policy"] == "same-origin"
    assert reply.headers["cross-origin-embedder-policy"] == "require-corp"
    assert client.get("/bundle/manifest.json").json()["spec"]["name"] == "grove-24k"
    assert client.get("/codec/local/index.js").headers["content-type"].startswith("text/javascript")
