"""Audio files in a sandbox process: an upload to samples, samples to FLAC or Ogg."""

import io
from typing import Final

import msgspec
import numpy as np

from grove.codec.channels import down_mix
from grove.codec.resample import Resampler
from grove.codec.sound.source import AudioLimits, AudioSource, open_audio
from grove.codec.sound.writer import FlacOutput, OggOutput, open_writer
from grove.server.sandbox.messages import (
    DATA,
    END,
    HEAD,
    SAMPLES,
    Channel,
    DecodeAudio,
    End,
    Head,
    WriteAudio,
)

_LENGTH_IS_A_GUESS: Final = ("mp3", "mp4", "webm")


class ChunkSink(io.BytesIO):
    """Bytes that a writer made, taken away piece by piece."""

    def take(self) -> bytes:
        data = self.getvalue()
        self.seek(0)
        self.truncate()
        return data


def decode_audio(order: DecodeAudio, channel: Channel) -> None:
    """Say what a file is, then its samples, then its length."""
    with _opened(order) as source:
        declared = _declared_samples(source, order)
        expected = source.declared_samples if declared is None else declared
        head = Head(source.sample_rate_hz, source.channels, declared, expected)
        channel.put(HEAD, msgspec.json.encode(head))
        resampler = Resampler(source.sample_rate_hz, order.sample_rate_hz)
        for block in source:
            channel.put(SAMPLES, resampler.push(down_mix(block)).tobytes())
        channel.put(SAMPLES, resampler.finish().tobytes())
        channel.put(END, msgspec.json.encode(End(source.samples_read)))


def write_audio(order: WriteAudio, channel: Channel) -> None:
    """Answer each block of samples with the bytes that it completes."""
    sink = ChunkSink()
    output = FlacOutput() if order.format == "flac" else OggOutput()
    with open_writer(sink, output, order.sample_rate_hz, samples=order.samples) as writer:
        channel.put(DATA, sink.take())
        while (message := channel.take())[0] == SAMPLES:
            writer.write(np.frombuffer(message[1], np.float32)[:, None])
            channel.put(DATA, sink.take())
    channel.put(END, sink.take())


def _declared_samples(source: AudioSource, order: DecodeAudio) -> int | None:
    if source.container not in _LENGTH_IS_A_GUESS:
        return source.declared_samples
    if not order.exact_length:
        return None
    with _opened(order) as counted:
        return sum(len(block) for block in counted)


def _opened(order: DecodeAudio) -> AudioSource:
    limits = AudioLimits(
        max_bytes=order.max_bytes,
        max_seconds=order.max_seconds,
        max_channels=order.max_channels,
    )
    return open_audio(order.path, limits, name="the upload")
