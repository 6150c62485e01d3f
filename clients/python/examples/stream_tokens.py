"""Stream a WAV file (16-bit mono) as a microphone would: python stream_tokens.py <url> <wav>"""

# ruff: noqa: T201

import sys
import time
import wave
from collections.abc import Iterator

from grove_client import Grove, StreamSettings

CHUNK_MS = 20


def spoken(source: wave.Wave_read) -> Iterator[bytes]:
    """Yield 20 ms at a time, when they would have been spoken."""
    start_s = time.monotonic()
    chunks = 0
    while chunk := source.readframes(source.getframerate() * CHUNK_MS // 1000):
        chunks += 1
        time.sleep(max(0.0, start_s + chunks * CHUNK_MS / 1000 - time.monotonic()))
        yield chunk


url, path = sys.argv[1:]
with wave.open(path) as source, Grove(url) as grove:
    settings = StreamSettings(mode="encode", levels=2, sample_rate=source.getframerate())
    with grove.stream(settings) as stream:
        for packet in stream.exchange(spoken(source)):
            for offset, codes in enumerate(packet.frames):
                print(packet.index + offset, *codes)
        print(stream.summary, file=sys.stderr)
