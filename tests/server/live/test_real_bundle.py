"""The default bundle behind a real server: tokens are the same whichever way they were made."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from running import RunningServer, audio_packet, codes_of, make_settings, payload_of, wav_bytes
from test_protocol_document import table
from test_stream_socket import receive_all, send_audio, tokens_of

from grove.codec.bundle import load_bundle
from grove.codec.runtime import Codec
from grove.codec.sound.pcm import encode_pcm
from grove.codec.stream import decode, encode
from grove.server.models import load_model

COLUMNS = [f"{frames} a packet" for frames in (1, 2, 3, 5, 10)]
CLIP = Path(__file__).parents[2] / "fixtures" / "speech-033.flac"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    settings = make_settings(tmp_path_factory.mktemp("state"), bundles=("grove-24k",))
    with RunningServer(settings, load_model) as running:
        yield running


def test_tokens_over_socket_rest_and_codec_are_equal_bit_for_bit(real: RunningServer) -> None:
    samples, rate_hz = soundfile.read(CLIP, dtype="float32", stop=48_000)
    codec = Codec(load_bundle("grove-24k"))
    codes = encode(codec, samples, rate_hz)
    data = encode_pcm(samples, "s16le")
    # Two sessions at once: one in packets of a frame, one as a file in odd pieces.
    with (
        real.connect(f"mode=encode&sample_rate={rate_hz}&pace=file") as whole,
        real.connect(f"mode=encode&sample_rate={rate_hz}") as live,
    ):
        live_sequence = send_audio(live, data[:9600], 960)
        send_audio(whole, data, 7777)
        send_audio(live, data[9600:], 960, first=live_sequence)
        for socket in (whole, live):
            socket.send('{"type":"finalize"}')
        made = [tokens_of(receive_all(socket)[1], codec.spec) for socket in (whole, live)]
    assert made == [codes.tolist(), codes.tolist()]
    reply = real.client.post("/v1/encode?format=npy", content=_wav(samples, rate_hz))
    assert _npy(reply.content).tolist() == codes.tolist()


def test_audio_through_the_service_is_the_codecs_own(real: RunningServer) -> None:
    samples, rate_hz = soundfile.read(CLIP, dtype="float32", stop=24_000)
    codec = Codec(load_bundle("grove-24k"))
    if rate_hz != codec.spec.sample_rate_hz:
        pytest.fail(f"the fixture has {rate_hz} Hz")
    expected = encode_pcm(decode(codec, encode(codec, samples), len(samples)), "s16le")
    reply = real.client.post("/v1/transcode?format=raw", content=_wav(samples, rate_hz))
    assert reply.content == expected
    with real.connect("pace=file") as socket:
        socket.send(audio_packet(0, encode_pcm(samples, "s16le")))
        socket.send('{"type":"finalize"}')
        _, packets = receive_all(socket)
    assert b"".join(map(payload_of, packets)) == expected


@pytest.mark.parametrize(("levels", "frames", "most_kbps"), [(1, 3, 1.6), (6, 3, 6.6), (6, 1, 7.3)])
def test_a_stream_of_tokens_takes_what_the_protocol_says(
    real: RunningServer, levels: int, frames: int, most_kbps: float
) -> None:
    samples, _ = soundfile.read(CLIP, dtype="float32", stop=24_000)
    with real.connect(f"mode=encode&levels={levels}&frames_per_packet={frames}") as socket:
        send_audio(socket, encode_pcm(samples, "s16le"), 960)
        socket.send('{"type":"finalize"}')
        _, packets = receive_all(socket)
    made = sum(len(codes_of(packet, load_bundle("grove-24k").spec)) for packet in packets)
    measured_kbps = sum(map(len, packets)) * 8 * 50 / made / 1000
    assert measured_kbps <= most_kbps
    row = next(row for row in table("levels", *COLUMNS) if row[0] == str(levels))
    told = float(row[1 + COLUMNS.index(f"{frames} a packet")].split(" ")[0])
    # Less where the server was behind, and several frames came out of one step.
    assert measured_kbps <= told * 1.01


def _wav(samples: np.ndarray, rate_hz: int) -> bytes:
    return wav_bytes(samples, rate_hz)


def _npy(content: bytes) -> np.ndarray:
    codes: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    return codes
