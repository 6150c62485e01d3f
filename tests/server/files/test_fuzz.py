"""Random bytes and random frames at the socket: every end is one that PROTOCOL.md names."""

import json
import random
import socket as sockets

import pytest
from running import RunningServer, audio_packet
from websockets.exceptions import ConnectionClosed

from grove.server.protocol import ErrorCode

DOCUMENTED = {code.close_code for code in ErrorCode} | {1000, 1002, 1007, 1009}
CONTROLS = ["flush", "clear", "finalize", "ping", "levels", "lost", "ack", "audio", "tokens", "x"]


def random_message(dice: random.Random) -> bytes | str:
    match dice.randrange(4):
        case 0:
            return dice.randbytes(dice.randrange(100))
        case 1:
            return audio_packet(dice.randrange(3), dice.randbytes(dice.randrange(3000)))
        case 2:
            fields = {
                dice.choice(["levels", "from", "count", "sequence", "data", "id"]): dice.choice(
                    [0, -1, 2, 2**40, "x", None, [], 1.5]
                )
                for _ in range(dice.randrange(4))
            }
            return json.dumps({"type": dice.choice(CONTROLS), **fields})
        case _:
            return "".join(chr(dice.randrange(1, 0x2000)) for _ in range(dice.randrange(50)))


@pytest.mark.parametrize("seed", range(24))
def test_random_messages_end_as_documented_or_not_at_all(server: RunningServer, seed: int) -> None:
    dice = random.Random(seed)
    mode = dice.choice(["encode", "decode", "transcode"])
    rate = dice.choice([8_000, 24_000, 44_100])
    encoding = dice.choice(["pcm_s16le", "pcm_f32le", "mulaw"])
    query = f"mode={mode}&sample_rate={rate}&encoding={encoding}&pace=file"
    with server.connect(query, json=dice.random() < 0.3) as stream:
        try:
            for _ in range(40):
                stream.send(random_message(dice))
            stream.send('{"type":"ping","id":"end"}')
            while '"end"' not in str(stream.recv(timeout=10)):
                pass
        except ConnectionClosed:
            assert stream.close_code in DOCUMENTED
    assert server.client.get("/live").status_code == 200


@pytest.mark.parametrize("seed", range(8))
def test_random_bytes_on_the_line_harm_nobody(server: RunningServer, seed: int) -> None:
    dice = random.Random(seed)
    with server.connect("mode=encode") as other:
        other.recv(timeout=5)
        with sockets.create_connection(("127.0.0.1", server.port)) as line:
            line.sendall(
                b"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            assert line.recv(1000).startswith(b"HTTP/1.1 101")
            line.sendall(dice.randbytes(5000))
        other.send(audio_packet(0, bytes(960)))
        assert isinstance(other.recv(timeout=5), bytes)
    assert server.client.get("/live").status_code == 200


def test_lines_cut_mid_stream_leave_no_session_behind(server: RunningServer) -> None:
    dice = random.Random(7)
    for _ in range(30):
        with server.connect(f"mode=transcode&pace={dice.choice(['file', 'realtime'])}") as stream:
            created = json.loads(stream.recv(timeout=5))
            if created["type"] == "error":  # all slots held by sessions that may be resumed
                assert created["code"] == "overloaded"
                break
            for sequence in range(dice.randrange(5)):
                stream.send(audio_packet(sequence, dice.randbytes(960)))
            stream.socket.shutdown(sockets.SHUT_RDWR)
    registry = server.service.streams
    for stream_ in list(registry._streams.values()):
        stream_.detached_s -= server.settings.resume_seconds  # as if the time had passed
    for _ in range(100):
        if server.service.admission.live + server.service.admission.files == 0:
            break
        server.client.get("/live")
    assert server.service.admission.live + server.service.admission.files == 0
