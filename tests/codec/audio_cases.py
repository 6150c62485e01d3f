"""Sound files made on the spot, and ways of handing them over."""

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import soundfile

from grove.codec.arrays import F32
from grove.codec.sound.source import AudioSource

RATE_HZ = 24_000
# Container, subtype, and whether what goes in comes out to the bit.
COMPRESSED = [
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("AIFF", "PCM_16"),
    ("AIFF", "FLOAT"),
    ("MP3", "MPEG_LAYER_III"),
]
WAV_SUBTYPES = ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"]


def tone(samples: int, channels: int = 1) -> F32:
    """Return a tone per channel [n, C] with a little noise on it."""
    time_s = np.arange(samples)[:, None] / RATE_HZ
    noise = np.random.default_rng(samples).standard_normal((samples, channels))
    pitch_hz = 220 * (1 + np.arange(channels))
    return (0.3 * np.sin(2 * np.pi * pitch_hz * time_s) + 0.02 * noise).astype(np.float32)


def sound_file(audio: F32, container: str, subtype: str, rate_hz: int = RATE_HZ) -> bytes:
    """Return a whole file as libsndfile writes it."""
    out = io.BytesIO()
    with soundfile.SoundFile(
        out, "w", rate_hz, audio.shape[1], format=container, subtype=subtype
    ) as sound:
        for start in range(0, len(audio), 4_096):
            sound.write(audio[start : start + 4_096])
    return out.getvalue()


def decoded(data: bytes) -> F32:
    """Return what libsndfile reads in one go."""
    audio: F32
    audio, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    return audio


def read(source: AudioSource) -> F32:
    """Return all blocks of `source`, joined, and close it."""
    with source:
        return np.concatenate(list(source))


@contextmanager
def pipe(data: bytes, piece_bytes: int = 10_007) -> Iterator[BinaryIO]:
    """Hand `data` through a real pipe, in pieces that cut samples in two."""
    reader, writer = os.pipe()

    def feed() -> None:
        with os.fdopen(writer, "wb", buffering=0) as file:
            try:
                for start in range(0, len(data), piece_bytes):
                    file.write(data[start : start + piece_bytes])
            except BrokenPipeError:
                return

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        with os.fdopen(reader, "rb") as file:
            yield file
    finally:
        thread.join()
