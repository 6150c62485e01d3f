"""`/v1/stream` over a real socket."""

import hashlib
import json
from socket import SHUT_RDWR

import numpy as np
import pytest
from fake_codec import SPEC, FakeCodec
from running import (
    RunningServer,
    audio_packet,
    codes_of,
    noise,
    payload_of,
    tokens_packet,
    wav_bytes,
)
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from grove.codec.config import CodecSpec
from grove.codec.sound.pcm import encode_pcm
from grove.codec.stream import FrameFeed
from grove.server.protocol import unpack_head


def receive_all(socket: ClientConnection) -> tuple[list[dict], list[bytes]]:
    """Return all control messages and all packets up to the close."""
    controls, packets = [], []
    try:
        while True:
            message = socket.recv(timeout=10)
            if isinstance(message, str):
                controls.append(json.loads(message))
            else:
                packets.append(message)
    except ConnectionClosed:
        return controls, packets


def send_audio(socket: ClientConnection, data: bytes, chunk_bytes: int, first: int = 0) -> int:
    """Send `data` in chunks; return the next sequence."""
    sequence = first
    for start in range(0, len(data), chunk_bytes):
        socket.send(audio_packet(sequence, data[start : start + chunk_bytes]))
        sequence += 1
    return sequence


def tokens_of(packets: list[bytes], spec: CodecSpec = SPEC) -> list[list[int]]:
    return [frame for packet in packets for frame in codes_of(packet, spec)]


def expected_codes(samples: np.ndarray, levels: int = 3, rate_hz: int = 24_000) -> list[list[int]]:
    feed = FrameFeed(SPEC, rate_hz)
    frames = np.concatenate((feed.push(samples), feed.finish()))
    codec = FakeCodec()
    codes, _ = codec.encode_step(frames.reshape(1, -1), codec.encoder_state(1))
    return codes[0, :, : SPEC.codes_at(levels)].tolist()


@pytest.mark.parametrize("chunk_bytes", [960, 1, 333, 40_000])
def test_tokens_do_not_depend_on_how_the_audio_was_chunked(
    server: RunningServer, chunk_bytes: int
) -> None:
    samples = noise(480 * 5 + 100 if chunk_bytes > 1 else 700)
    with server.connect("mode=encode&pace=file") as socket:
        send_audio(socket, encode_pcm(samples, "s16le"), chunk_bytes)
        socket.send('{"type":"finalize"}')
        controls, packets = receive_all(socket)
    assert tokens_of(packets) == expected_codes(samples)
    assert [control["type"] for control in controls] == ["session.created", "session.closed"]
    assert socket.close_code == 1000


def test_tokens_of_the_socket_and_of_rest_are_the_same(server: RunningServer) -> None:
    samples = noise(16_000)
    with server.connect("mode=encode&sample_rate=16000&levels=2") as socket:
        send_audio(socket, encode_pcm(samples, "s16le"), 640)
        socket.send('{"type":"finalize"}')
        controls, packets = receive_all(socket)
    reply = server.client.post(
        "/v1/encode?levels=2&format=json", content=wav_bytes(samples, 16_000)
    )
    assert tokens_of(packets) == reply.json()["codes"]
    assert tokens_of(packets) == expected_codes(samples, 2, 16_000)
    packed = np.array(tokens_of(packets), "<u2").tobytes()
    assert controls[-1]["sha256"] == hashlib.sha256(packed).hexdigest()
    assert controls[-1]["seconds"] == 1.0


@pytest.mark.parametrize("rate_hz", [24_000, 8_000, 44_100])
def test_transcoding_gives_as_many_samples_as_it_got(server: RunningServer, rate_hz: int) -> None:
    samples = noise(rate_hz // 2 + 7)
    with server.connect(f"sample_rate={rate_hz}") as socket:
        send_audio(socket, encode_pcm(samples, "s16le"), 2 * rate_hz // 50)
        socket.send('{"type":"finalize"}')
        controls, packets = receive_all(socket)
    assert sum(len(payload_of(packet)) // 2 for packet in packets) == len(samples)
    lows = [unpack_head(packet).low_sequence for packet in packets]
    assert lows == [number % 256 for number in range(len(packets))]
    assert controls[-1]["samples"] == len(samples)
    reply = server.client.post(
        f"/v1/transcode?format=raw&sample_rate={rate_hz}", content=wav_bytes(samples, rate_hz)
    )
    assert b"".join(map(payload_of, packets)) == reply.content


def test_decoding_the_tokens_of_a_stream_gives_what_transcoding_gives(
    server: RunningServer,
) -> None:
    samples = noise(480 * 6)
    frames = expected_codes(samples)
    with server.connect("mode=decode") as socket:
        for index, frame in enumerate(frames):
            socket.send(tokens_packet(index, [frame], 3))
        socket.send('{"type":"finalize"}')
        _, packets = receive_all(socket)
    decoded = b"".join(map(payload_of, packets))
    reply = server.client.post("/v1/transcode?format=raw", content=wav_bytes(samples))
    assert decoded[: len(reply.content)] == reply.content
    assert len(decoded) == 2 * (len(frames) * 480 - 240)


def first_of(socket: ClientConnection) -> dict:
    return json.loads(socket.recv(timeout=10))


def test_the_first_message_tells_the_effective_settings(server: RunningServer) -> None:
    with server.connect("mode=encode&sample_rate=16000&levels=1") as socket:
        created = first_of(socket)
    assert created["type"] == "session.created"
    assert created["model"]["sha256"] == SPEC.model_sha256
    assert created["delay"] == {"algorithmic_ms": 30.0, "resampler_ms": 39.0}
    assert (created["sample_rate_hz"], created["levels"], created["pace"]) == (16000, 1, "realtime")
    assert socket.subprotocol == "grove.v1"


@pytest.mark.parametrize(
    ("query", "code", "close"),
    [
        ("mode=sing", "invalid_settings", 4000),
        ("sample_rate=7", "invalid_settings", 4000),
        ("channels=3", "invalid_settings", 4000),
        ("levels=4", "invalid_settings", 4000),
        ("heartbeat_ms=5", "invalid_settings", 4000),
        ("colour=red", "invalid_settings", 4000),
        ("model=nobody", "unknown_model", 4004),
        ("resume=w1.nothing", "resume_failed", 4012),
    ],
)
def test_what_cannot_be_served_is_told_after_accepting(
    server: RunningServer, query: str, code: str, close: int
) -> None:
    with server.connect(query) as socket:
        controls, _ = receive_all(socket)
    assert [control["code"] for control in controls] == [code]
    assert socket.close_code == close


def test_pings_are_answered_while_frames_flow(server: RunningServer) -> None:
    # This client stops reading the line, pongs too, once 16 messages wait unread: here it never
    # does, so that a missing pong is the server's.
    with server.connect("mode=encode&pace=file", max_queue=None) as socket:
        send_audio(socket, encode_pcm(noise(480 * 300), "s16le"), 9600)
        assert socket.ping().wait(5)
        socket.send('{"type":"ping","id":"7"}')
        socket.send('{"type":"finalize"}')
        controls, packets = receive_all(socket)
    assert {"type": "pong", "id": "7"} in controls
    assert len(tokens_of(packets)) == 301


@pytest.mark.parametrize("heard", [0, 1, 14])
def test_a_resumed_session_loses_and_doubles_no_frame(server: RunningServer, heard: int) -> None:
    samples = noise(480 * 30 + 11)
    data = encode_pcm(samples, "s16le")
    packets = []
    with server.connect("mode=encode") as socket:
        token = first_of(socket)["resume"]["token"]
        for sequence in range(20):
            socket.send(audio_packet(sequence, data[sequence * 700 : (sequence + 1) * 700]))
        while len(tokens_of(packets)) < heard:
            packets.append(socket.recv(timeout=5))
        socket.socket.shutdown(SHUT_RDWR)  # the line drops: no closing handshake
    with server.connect(f"resume={token}&received={len(packets)}") as again:
        resumed = first_of(again)
        assert resumed["type"] == "session.resumed"
        sequence = resumed["next_sequence"]
        assert sequence <= 20
        for start in range(sequence * 700, len(data), 700):
            again.send(audio_packet(start // 700, data[start : start + 700]))
        again.send('{"type":"finalize"}')
        controls, more = receive_all(again)
    assert tokens_of(packets + more) == expected_codes(samples)
    assert controls[-1]["type"] == "session.closed"
    assert again.close_code == 1000


def test_a_resume_replaces_the_connection_that_still_stands(server: RunningServer) -> None:
    with server.connect("mode=encode") as old:
        token = first_of(old)["resume"]["token"]
        old.send(audio_packet(0, bytes(960)))
        assert isinstance(old.recv(timeout=5), bytes)
        with server.connect(f"resume={token}&received=1") as new:
            assert first_of(new)["next_sequence"] == 1
            receive_all(old)
            assert old.close_code == 4011
            new.send(audio_packet(1, bytes(960)))
            assert unpack_head(new.recv(timeout=5)).low_sequence == 1


def test_a_session_that_was_closed_cleanly_cannot_be_resumed(server: RunningServer) -> None:
    with server.connect("mode=encode") as socket:
        token = first_of(socket)["resume"]["token"]
    with server.connect(f"resume={token}") as again:
        controls, _ = receive_all(again)
    assert controls[0]["code"] == "resume_failed"


def test_a_message_over_the_limit_closes_with_1009(server: RunningServer) -> None:
    with server.connect("mode=encode&pace=file") as socket:
        first_of(socket)
        socket.send(bytes(server.settings.max_message_bytes + 1))
        receive_all(socket)
    assert socket.close_code == 1009


def test_heartbeats_come_when_asked_for(server: RunningServer) -> None:
    with server.connect("heartbeat_ms=100") as socket:
        first_of(socket)
        assert first_of(socket)["type"] == "heartbeat"


def test_slots_are_given_back(server: RunningServer) -> None:
    for _ in range(3 * 8):
        with server.connect("mode=encode") as socket:
            first_of(socket)
    assert server.service.admission.live <= 8
    with server.connect("mode=encode") as socket:
        assert first_of(socket)["type"] == "session.created"


def test_a_model_that_fails_ends_its_sessions_with_4101(server: RunningServer) -> None:
    codec = server.service.shelf.default.codec
    assert isinstance(codec, FakeCodec)
    codec.fails = True
    try:
        with server.connect("mode=encode") as socket:
            first_of(socket)
            socket.send(audio_packet(0, bytes(960)))
            controls, _ = receive_all(socket)
    finally:
        codec.fails = False
    assert controls[-1]["code"] == "engine_failed"
    assert socket.close_code == 4101
