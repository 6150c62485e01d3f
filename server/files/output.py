"""Replies as they are computed: samples as an audio file, tokens as container, JSON or npy."""

import io
from collections.abc import AsyncIterator
from typing import assert_never

import msgspec
import numpy as np

from grove.codec.arrays import F32, U16
from grove.codec.config import CodecSpec
from grove.codec.container.header import ContainerHeader
from grove.codec.container.writer import ContainerWriter
from grove.codec.sound.writer import RawOutput, WavOutput, open_writer
from grove.server.engine.work import Stepped
from grove.server.files.bulk import EngineError
from grove.server.files.formats import AudioFormat, TokenFormat
from grove.server.sandbox.audio import ChunkSink
from grove.server.sandbox.messages import END, SAMPLES, WriteAudio
from grove.server.sandbox.pool import SandboxDied, SandboxPool


async def audio_chunks(
    blocks: AsyncIterator[F32],
    audio_format: AudioFormat,
    sample_rate_hz: int,
    samples: int | None,
    pool: SandboxPool,
) -> AsyncIterator[bytes]:
    """Yield the bytes of an audio file of `samples` samples (None where nobody knows yet)."""
    match audio_format:
        case "wav":
            made = _plain(blocks, WavOutput(), sample_rate_hz, samples)
        case "raw":
            made = _plain(blocks, RawOutput(), sample_rate_hz, samples)
        case "l16":
            made = _big_endian(_plain(blocks, RawOutput(), sample_rate_hz, samples))
        case "flac" | "ogg":
            made = _compressed(blocks, WriteAudio(audio_format, sample_rate_hz, samples), pool)
        case _:
            assert_never(audio_format)
    async for data in made:
        yield data


async def _plain(
    blocks: AsyncIterator[F32],
    output: WavOutput | RawOutput,
    sample_rate_hz: int,
    samples: int | None,
) -> AsyncIterator[bytes]:
    """Rounding samples takes less than handing them to another process."""
    sink = ChunkSink()
    with open_writer(sink, output, sample_rate_hz, samples=samples) as writer:
        async for block in blocks:
            writer.write(block[:, None])
            if data := sink.take():
                yield data
    if data := sink.take():
        yield data


async def _big_endian(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        yield np.frombuffer(chunk, "<i2").astype(">i2").tobytes()


async def _compressed(
    blocks: AsyncIterator[F32], order: WriteAudio, pool: SandboxPool
) -> AsyncIterator[bytes]:
    """Encoders take long enough to be felt by live streams, and some abort when left early."""
    async with pool.open("output", order) as conversation:
        try:
            _, data = await conversation.hear()
            async for block in blocks:
                if data:
                    yield data
                await conversation.say(SAMPLES, block.astype(np.float32, copy=False).tobytes())
                _, data = await conversation.hear()
            await conversation.say(END)
            yield data
            _, data = await conversation.hear()
        except SandboxDied as error:
            raise EngineError(f"the audio could not be written: {error}") from None
    if data:
        yield data


class TokenFileInfo(msgspec.Struct, frozen=True):
    """The source of tokens, for the formats that say."""

    source_sample_rate_hz: int
    source_channels: int


class GrvTokens:
    """A container, block by block."""

    def __init__(self, spec: CodecSpec, info: TokenFileInfo) -> None:
        self._sink = ChunkSink()
        header = ContainerHeader(
            codec=spec,
            source_sample_rate_hz=info.source_sample_rate_hz,
            source_channels=info.source_channels,
        )
        self._writer = ContainerWriter(self._sink, header)

    def write(self, stepped: Stepped) -> bytes:
        self._writer.write(stepped.codes, stepped.levels)
        return self._sink.take()

    def finish(self, codec_samples: int, source_samples: int) -> bytes:
        self._writer.close(codec_samples, source_samples)
        return self._sink.take()


class _JsonHead(msgspec.Struct, frozen=True):
    model: str
    sha256: str
    sample_rate_hz: int
    hop_samples: int


class JsonTokens:
    """One object, whose counts come last because they are known last."""

    def __init__(self, spec: CodecSpec) -> None:
        self._spec = spec
        self._levels: list[int] = []

    def write(self, stepped: Stepped) -> bytes:
        start = b"," if self._levels else self._head()
        self._levels.extend(stepped.levels.tolist())
        frames = [
            codes[: self._spec.codes_at(level)]
            for codes, level in zip(stepped.codes.tolist(), stepped.levels.tolist(), strict=True)
        ]
        return start + msgspec.json.encode(frames)[1:-1]

    def finish(self, codec_samples: int, source_samples: int) -> bytes:
        start = b"" if self._levels else self._head()
        levels = msgspec.json.encode(self._levels)
        tail = f'],"samples":{codec_samples},"source_samples":{source_samples},"levels":'
        return start + tail.encode() + levels + b"}\n"

    def _head(self) -> bytes:
        spec = self._spec
        head = _JsonHead(spec.name, spec.model_sha256, spec.sample_rate_hz, spec.hop_samples)
        return msgspec.json.encode(head)[:-1] + b',"codes":['


class NpyTokens:
    """An array, whose header needs the number of frames: it all comes at the end."""

    def __init__(self, spec: CodecSpec, levels: int) -> None:
        self._used = spec.codes_at(levels)
        self._parts: list[U16] = [np.empty((0, self._used), np.uint16)]

    def write(self, stepped: Stepped) -> bytes:
        self._parts.append(stepped.codes[:, : self._used])
        return b""

    def finish(self, codec_samples: int, source_samples: int) -> bytes:  # noqa: ARG002
        file = io.BytesIO()
        np.save(file, np.concatenate(self._parts), allow_pickle=False)
        return file.getvalue()


TokenWriter = GrvTokens | JsonTokens | NpyTokens


def token_writer(
    token_format: TokenFormat, spec: CodecSpec, info: TokenFileInfo, levels: int
) -> TokenWriter:
    match token_format:
        case "grv":
            return GrvTokens(spec, info)
        case "json":
            return JsonTokens(spec)
        case "npy":
            return NpyTokens(spec, levels)
        case _:
            assert_never(token_format)
