"""The Python client against a real server."""

import asyncio
import hashlib
import itertools
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from client_cases import KEY, Line, ServerProcess
from grove_client import AsyncGrove, Grove, GroveError, Packet, Stream, StreamSettings

CHUNK_BYTES = 960
FILE_ENCODE = StreamSettings(mode="encode", levels=3, pace="file")
FILE_DECODE = StreamSettings(mode="decode", pace="file")


def cut_up(pcm: bytes) -> Iterator[bytes]:
    for start in range(0, len(pcm), CHUNK_BYTES):
        yield pcm[start : start + CHUNK_BYTES]


async def cut_up_async(pcm: bytes) -> AsyncIterator[bytes]:
    for chunk in cut_up(pcm):
        yield chunk


def encoded(url: str, pcm: bytes) -> list[Packet]:
    with Grove(url) as grove, grove.stream(FILE_ENCODE) as stream:
        return list(stream.exchange(cut_up(pcm)))


def codes_of(packets: list[Packet]) -> list[tuple[int, ...]]:
    return [codes for packet in packets for codes in packet.frames]


def digest(packets: list[Packet]) -> str:
    return hashlib.sha256(b"".join(packet.payload for packet in packets)).hexdigest()


def test_a_file_becomes_tokens_and_a_file_again(
    grove_server: ServerProcess, speech_wav: Path
) -> None:
    wav = speech_wav.read_bytes()
    with Grove(grove_server.url) as grove:
        tokens = grove.encode(wav, levels=6)
        again = grove.decode(tokens)
        assert again == grove.transcode(wav, levels=6)
    assert len(tokens) < len(wav) / 30
    assert len(again) == len(wav)


def test_the_async_client_gives_the_same_files(
    grove_server: ServerProcess, speech_wav: Path
) -> None:
    wav = speech_wav.read_bytes()

    async def run() -> bytes:
        async with AsyncGrove(grove_server.url) as grove:
            return await grove.decode(await grove.encode(wav, levels=3))

    with Grove(grove_server.url) as grove:
        assert asyncio.run(run()) == grove.transcode(wav, levels=3)


def test_a_stream_of_chunks_has_the_tokens_of_the_file(
    grove_server: ServerProcess, speech_wav: Path, speech_pcm: bytes
) -> None:
    with Grove(grove_server.url) as grove:
        of_file = grove.encode(speech_wav.read_bytes(), levels=3, format="npy")
        with grove.stream(FILE_ENCODE) as stream:
            packets = list(stream.exchange(cut_up(speech_pcm)))
            summary = stream.summary
    codes = codes_of(packets)
    assert {len(frame) for frame in codes} == {6}
    assert of_file.endswith(b"".join(struct.pack("<6H", *frame) for frame in codes))
    assert summary is not None
    assert (summary.frames, summary.sha256) == (len(codes), digest(packets))


def test_streamed_tokens_decode_to_the_input_s_length(
    grove_server: ServerProcess, speech_pcm: bytes
) -> None:
    tokens = encoded(grove_server.url, speech_pcm)
    with Grove(grove_server.url) as grove, grove.stream(FILE_DECODE) as stream:
        audio = b"".join(packet.payload for packet in stream.exchange(tokens))
    assert len(speech_pcm) <= len(audio) <= len(speech_pcm) + 2 * CHUNK_BYTES
    assert set(audio) != {0}


def test_the_async_stream_hears_what_the_sync_one_hears(
    grove_server: ServerProcess, speech_pcm: bytes
) -> None:
    settings = StreamSettings(levels=3, pace="file")

    async def heard() -> bytes:
        async with AsyncGrove(grove_server.url) as grove, grove.stream(settings) as stream:
            packets = [packet async for packet in stream.exchange(cut_up_async(speech_pcm))]
        return b"".join(packet.payload for packet in packets)

    with Grove(grove_server.url) as grove, grove.stream(settings) as stream:
        audio = b"".join(packet.payload for packet in stream.exchange(cut_up(speech_pcm)))
    assert asyncio.run(heard()) == audio
    assert len(audio) == len(speech_pcm)


def test_levels_change_in_mid_stream(grove_server: ServerProcess, speech_pcm: bytes) -> None:
    with Grove(grove_server.url) as grove, grove.stream(FILE_ENCODE) as stream:
        half = len(speech_pcm) // 2 // CHUNK_BYTES * CHUNK_BYTES
        stream.send(speech_pcm[:half])
        stream.set_levels(1)
        stream.send(speech_pcm[half:])
        stream.finalize()
        levels = [packet.levels for packet in stream for _ in packet.frames]
    assert levels == [3] * (half // CHUNK_BYTES) + [1] * (len(levels) - half // CHUNK_BYTES)


def test_a_chunk_larger_than_a_message_is_cut(
    grove_server: ServerProcess, speech_pcm: bytes
) -> None:
    pcm = speech_pcm * 5
    assert len(pcm) > 262_144
    with Grove(grove_server.url) as grove, grove.stream(FILE_ENCODE) as stream:
        packets = list(stream.exchange([pcm]))
    assert digest(packets) == digest(encoded(grove_server.url, pcm))


def test_dropped_lines_lose_and_double_no_frame(
    grove_server: ServerProcess, line: Line, speech_pcm: bytes
) -> None:
    def cutting() -> Iterator[bytes]:
        for number, chunk in enumerate(cut_up(speech_pcm)):
            if number in (20, 50):
                line.cut()
            yield chunk

    with Grove(line.url) as grove, grove.stream(FILE_ENCODE) as stream:
        packets = list(stream.exchange(cutting()))
    assert line.connections == 3
    assert codes_of(packets) == codes_of(encoded(grove_server.url, speech_pcm))


def test_dropped_lines_lose_and_double_no_frame_async(
    grove_server: ServerProcess, line: Line, speech_pcm: bytes
) -> None:
    async def cutting() -> AsyncIterator[bytes]:
        for number, chunk in enumerate(cut_up(speech_pcm)):
            if number in (20, 50):
                line.cut()
            yield chunk

    async def run() -> list[Packet]:
        async with AsyncGrove(line.url) as grove, grove.stream(FILE_ENCODE) as stream:
            return [packet async for packet in stream.exchange(cutting())]

    packets = asyncio.run(run())
    assert line.connections == 3
    assert codes_of(packets) == codes_of(encoded(grove_server.url, speech_pcm))


def test_a_line_that_stays_down_is_an_error(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    with Grove(line.url) as grove, grove.stream(FILE_ENCODE) as stream:
        monkeypatch.setattr(stream, "_resume", lambda _: Stream._resume(stream, 0.3))
        line.close()
        with pytest.raises(GroveError, match=r"line_lost: no line for 0.3 s"):
            list(stream)


def test_what_the_source_raises_reaches_the_reader(grove_server: ServerProcess) -> None:
    def failing() -> Iterator[bytes]:
        yield bytes(CHUNK_BYTES)
        raise OSError("the microphone is gone")

    with (
        Grove(grove_server.url) as grove,
        grove.stream(FILE_ENCODE) as stream,
        pytest.raises(OSError, match="the microphone is gone"),
    ):
        list(stream.exchange(failing()))


def test_a_stream_that_is_left_stops_its_source(grove_server: ServerProcess) -> None:
    endless = (bytes(CHUNK_BYTES) for _ in itertools.count())
    with Grove(grove_server.url) as grove, grove.stream(FILE_ENCODE) as stream:
        next(stream.exchange(endless))
    with pytest.raises(GroveError, match="the stream was left"):
        stream.send(b"\0\0")


def test_a_key_opens_both_doors(locked_server: ServerProcess, speech_wav: Path) -> None:
    wav = speech_wav.read_bytes()
    with Grove(locked_server.url, KEY) as grove:
        assert grove.transcode(wav)
        with grove.stream(FILE_ENCODE) as stream:
            assert stream.session.levels == 3
    with Grove(locked_server.url, "wrong") as stranger:
        with pytest.raises(GroveError, match="unauthorized"):
            stranger.transcode(wav)
        with pytest.raises(GroveError, match="unauthorized"), stranger.stream(FILE_ENCODE):
            pass


def test_a_full_server_says_when_to_come_again(locked_server: ServerProcess) -> None:
    live = StreamSettings(mode="encode")
    with (
        Grove(locked_server.url, KEY) as grove,
        grove.stream(live),
        pytest.raises(GroveError) as refusal,
        grove.stream(live),
    ):
        pass
    assert refusal.value.code == "overloaded"
    assert refusal.value.retry_after_seconds == 5


def test_settings_that_do_not_hold_are_named(grove_server: ServerProcess) -> None:
    settings = StreamSettings(levels=9)
    with (
        Grove(grove_server.url) as grove,
        pytest.raises(GroveError, match="invalid_settings: levels: 9"),
        grove.stream(settings),
    ):
        pass
