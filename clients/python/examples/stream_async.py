"""Hear a WAV file (16-bit mono) through the codec: python stream_async.py <url> <wav> <out.wav>"""

import asyncio
import sys
import wave
from collections.abc import AsyncIterator

from grove_client import AsyncGrove, StreamSettings


async def chunks_of(source: wave.Wave_read) -> AsyncIterator[bytes]:
    while chunk := source.readframes(480):
        yield chunk


async def transcode(url: str, source: wave.Wave_read, coded: wave.Wave_write) -> None:
    settings = StreamSettings(levels=3, sample_rate=source.getframerate(), pace="file")
    async with AsyncGrove(url) as grove, grove.stream(settings) as stream:
        async for packet in stream.exchange(chunks_of(source)):
            coded.writeframes(packet.payload)


url, path, out = sys.argv[1:]
with wave.open(path) as source, wave.open(out, "wb") as coded:
    coded.setparams((1, 2, source.getframerate(), 0, "NONE", ""))
    asyncio.run(transcode(url, source, coded))
