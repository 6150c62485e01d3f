"""Replies that common readers read: every kind of input, in every kind of output."""

import io

import numpy as np
import pytest
import soundfile
from running import RunningServer, noise

INPUTS = [
    ("WAV", "PCM_16", 44_100),
    ("FLAC", "PCM_16", 24_000),
    ("OGG", "OPUS", 48_000),
    ("OGG", "VORBIS", 22_050),
    ("MP3", "MPEG_LAYER_III", 44_100),
    ("AIFF", "PCM_16", 16_000),
]


@pytest.mark.parametrize("output", ["wav", "flac", "ogg"])
@pytest.mark.parametrize(("container", "subtype", "rate_hz"), INPUTS, ids=str)
def test_every_reply_is_read_whole(
    server: RunningServer, container: str, subtype: str, rate_hz: int, output: str
) -> None:
    file = io.BytesIO()
    soundfile.write(file, noise(rate_hz) * 0.5, rate_hz, format=container, subtype=subtype)
    heard, _ = soundfile.read(io.BytesIO(file.getvalue()))
    reply = server.client.post(f"/v1/transcode?format={output}", content=file.getvalue())
    assert reply.status_code == 200
    samples, told_hz = soundfile.read(io.BytesIO(reply.content))
    assert told_hz == 24_000
    assert len(samples) == soundfile.info(io.BytesIO(reply.content)).frames
    assert len(samples) == pytest.approx(len(heard) * 24_000 / rate_hz, abs=2)


def test_an_mp3_becomes_flac_with_its_length_in_the_header(server: RunningServer) -> None:
    file = io.BytesIO()
    soundfile.write(file, noise(30_000) * 0.5, 24_000, format="MP3", subtype="MPEG_LAYER_III")
    reply = server.client.post("/v1/transcode?format=flac", content=file.getvalue())
    total = int.from_bytes(reply.content[21:26], "big") & (1 << 36) - 1
    assert total == len(soundfile.read(io.BytesIO(reply.content))[0])
    assert total == len(soundfile.read(io.BytesIO(file.getvalue()))[0])
    assert np.abs(soundfile.read(io.BytesIO(reply.content))[0]).max() > 0
