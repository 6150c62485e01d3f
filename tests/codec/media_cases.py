"""Recordings as browsers and telephones make them, of samples at hand."""

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from grove.codec.arrays import F32

# Name, format, codec, rate, channels.
RECORDINGS = (
    ("webm-opus", "webm", "libopus", 48_000, 1),
    ("webm-opus-stereo", "webm", "libopus", 48_000, 2),
    ("webm-pcm", "matroska", "pcm_f32le", 48_000, 1),
    ("m4a-aac", "mp4", "aac", 44_100, 1),
    ("m4a-aac-stereo", "mp4", "aac", 48_000, 2),
    ("m4a-alac", "mp4", "alac", 48_000, 1),
    ("m4a-opus", "mp4", "libopus", 48_000, 1),
)


def tones(rate_hz: int, channels: int, seconds: float = 1.5) -> F32:
    """Return [n, C] of a tone a channel, which no coding makes unrecognisable."""
    time_s = np.arange(int(rate_hz * seconds)) / rate_hz
    pitches = 440 * (1 + np.arange(channels))
    return (0.4 * np.sin(2 * np.pi * time_s[:, None] * pitches)).astype(np.float32)


def recording(
    pcm: F32, rate_hz: int, container: str, codec: str, options: dict[str, str] | None = None
) -> bytes:
    """Return a file of samples [n, C], with its index in front if `faststart` is asked for."""
    layout = {1: "mono", 2: "stereo", 7: "6.1", 8: "7.1"}[pcm.shape[1]]
    with (
        tempfile.NamedTemporaryFile() as out,
        av.open(out.name, "w", format=container, options=options or {}) as file,
    ):
        stream: Any = file.add_stream(codec, rate=rate_hz)
        stream.layout = layout
        sample_format = stream.codec_context.codec.audio_formats[0].name
        resampler = av.AudioResampler(format=sample_format, layout=layout, rate=rate_hz)
        frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), "flt", layout)
        frame.sample_rate = rate_hz
        fifo = av.AudioFifo()
        for part in resampler.resample(frame):
            fifo.write(part)
        size = stream.codec_context.frame_size or 1024
        start = 0
        while fifo.samples:
            part = fifo.read(size, partial=True)
            assert part is not None
            # With a time on each, the delay of the encoder is noted in the file, and cut again.
            part.pts, part.time_base = start, Fraction(1, rate_hz)
            start += part.samples
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
        file.close()
        return Path(out.name).read_bytes()
