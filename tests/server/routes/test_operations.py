"""Health, readiness, metrics, overload, slow clients, draining."""

import json
import socket as sockets
import time

import pytest
from fake_codec import SPEC
from running import (
    RunningServer,
    audio_packet,
    make_settings,
    noise,
    texts_until_close,
    wav_bytes,
)
from websockets.exceptions import ConnectionClosed

from grove.codec.sound.pcm import encode_pcm


def test_health_tells_what_runs(server: RunningServer) -> None:
    health = server.client.get("/health").json()
    assert health["models"] == [f"fake-24k@{SPEC.model_sha256}"]
    assert (health["slots"], health["ready"], health["draining"]) == (8, True, False)
    assert server.client.get("/version").json()["protocol"] == 1


def test_metrics_count_sessions_frames_and_refusals(server: RunningServer) -> None:
    with server.connect("mode=encode") as stream:
        stream.recv(timeout=5)
        stream.send(audio_packet(0, bytes(960)))
        stream.recv(timeout=5)
        text = server.client.get("/metrics").text
    server.client.post("/v1/encode", content=b"not audio")
    after = server.client.get("/metrics").text
    assert 'grove_sessions{pace="realtime"}' in text
    assert 'grove_frames_total{lane="live"}' in text
    assert "grove_frame_latency_seconds_bucket" in text
    assert 'grove_rejections_total{code="unsupported_media"}' in after
    assert 'route="/v1/encode"' in after


def test_beyond_the_slots_refusals_are_clean_and_the_admitted_go_on(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    settings = make_settings(tmp_path_factory.mktemp("state"), slots=1, file_sessions=1)
    with RunningServer(settings) as server, server.connect("mode=encode") as admitted:
        admitted.recv(timeout=5)
        assert server.client.get("/ready").status_code == 503
        with server.connect("mode=encode") as refused:
            error = json.loads(refused.recv(timeout=5))
            with pytest.raises(ConnectionClosed):
                refused.recv(timeout=5)
        assert (error["code"], refused.close_code) == ("overloaded", 1013)
        assert error["retry_after_seconds"] > 0
        with server.connect("mode=encode&pace=file") as file:
            assert "session.created" in file.recv(timeout=5)
        admitted.send(audio_packet(0, bytes(960)))
        assert isinstance(admitted.recv(timeout=5), bytes)


def test_a_client_that_does_not_read_is_closed_and_nobody_else_notices(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    settings = make_settings(
        tmp_path_factory.mktemp("state"), slow_reader_seconds=0.5, max_outbox_bytes=65_536
    )
    with RunningServer(settings) as server, server.connect("mode=encode") as other:
        other.recv(timeout=5)
        with sockets.create_connection(("127.0.0.1", server.port)) as line:
            line.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
            hold_without_reading(line)
            deadline_s = time.monotonic() + 8
            while server.service.admission.files and time.monotonic() < deadline_s:
                other.send('{"type":"ping"}')
                assert "pong" in other.recv(timeout=1)
            assert server.service.admission.files == 0
        assert (
            'grove_session_errors_total{code="slow_reader"} 1' in server.client.get("/metrics").text
        )


def hold_without_reading(line: sockets.socket) -> None:
    """Open a file session by hand and send much more than is ever read back."""
    request = (
        "GET /v1/stream?encoding=pcm_f32le&pace=file HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        "Upgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    line.sendall(request.encode())
    assert line.recv(1000).startswith(b"HTTP/1.1 101")
    line.settimeout(0.3)
    payload = bytes(60_000)
    for sequence in range(400):
        packet = audio_packet(sequence, payload)
        try:
            line.sendall(b"\x82\xfe" + len(packet).to_bytes(2, "big") + bytes(4) + packet)
        except (TimeoutError, OSError):
            return


def test_idle_sessions_end_with_4009(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = make_settings(tmp_path_factory.mktemp("state"), idle_seconds=0.3)
    with RunningServer(settings) as server, server.connect() as stream:
        last = json.loads(texts_until_close(stream)[-1])
        assert (last["code"], stream.close_code) == ("idle", 4009)


def test_a_dropped_session_is_let_go_after_its_time(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    settings = make_settings(tmp_path_factory.mktemp("state"), resume_seconds=0.3)
    with RunningServer(settings) as server:
        with server.connect() as stream:
            token = json.loads(stream.recv(timeout=5))["resume"]["token"]
            stream.socket.shutdown(sockets.SHUT_RDWR)
        deadline_s = time.monotonic() + 5
        while server.service.admission.live and time.monotonic() < deadline_s:
            time.sleep(0.02)
        assert server.service.admission.live == 0
        with server.connect(f"resume={token}") as again:
            assert "resume_failed" in again.recv(timeout=5)


def test_draining_refuses_the_new_and_lets_the_old_finish(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    settings = make_settings(tmp_path_factory.mktemp("state"), drain_seconds=20)
    with RunningServer(settings) as server:
        with server.connect("mode=encode") as stream:
            stream.recv(timeout=5)
            server.drain()
            assert json.loads(stream.recv(timeout=5)) == {"type": "session.draining", "seconds": 20}
            assert server.client.get("/ready").status_code == 503
            assert server.client.get("/live").status_code == 200
            reply = server.client.post("/v1/encode", content=wav_bytes(noise(100)))
            assert (reply.status_code, reply.json()["code"]) == (503, "overloaded")
            with server.connect() as refused:
                assert "overloaded" in refused.recv(timeout=5)
            stream.send(audio_packet(0, encode_pcm(noise(480), "s16le")))
            assert isinstance(stream.recv(timeout=5), bytes)
            stream.send('{"type":"finalize"}')
            texts_until_close(stream)
            assert stream.close_code == 1000
        assert server.join(5)


def test_what_is_left_when_draining_ends_is_closed_with_4100(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    settings = make_settings(tmp_path_factory.mktemp("state"), drain_seconds=0.2)
    with RunningServer(settings) as server, server.connect("mode=encode") as stream:
        stream.recv(timeout=5)
        server.drain()
        texts_until_close(stream)
        assert stream.close_code == 4100
        assert server.join(5)
