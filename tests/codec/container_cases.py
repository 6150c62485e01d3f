"""Synthetic containers for the tests of everything that reads or writes one."""

from io import BytesIO
from typing import Literal

import numpy as np

from grove.codec.config import CodecSpec
from grove.codec.container.assembler import Block
from grove.codec.container.header import ContainerHeader
from grove.codec.container.writer import ContainerWriter

SPEC = CodecSpec(
    name="grove-24k",
    version="1.0.0",
    model_sha256="0123456789abcdef" * 4,
    sample_rate_hz=24_000,
    hop_samples=480,
    delay_samples=240,
    code_sizes=(1024,) * 12,
    codes_per_level=(2,) * 6,
)
# Books of odd sizes, so that most payloads do not end on a byte.
ODD_SPEC = SPEC.model_copy(
    update={"name": "odd", "code_sizes": (1000, 16, 7, 2), "codes_per_level": (1, 2, 1)}
)


def make_header(
    spec: CodecSpec = SPEC, channels: Literal[1, 2] = 1, source_rate_hz: int = 24_000
) -> ContainerHeader:
    return ContainerHeader(
        codec=spec,
        channels=channels,
        source_sample_rate_hz=source_rate_hz,
        source_channels=channels,
        tags={"title": "Synthetic"},
    )


def synthetic_codes(
    spec: CodecSpec, channels: int, frame_count: int, levels: np.ndarray | int
) -> tuple[np.ndarray, np.ndarray]:
    """Return codes [C, T, K], 0 above the level, and levels [C, T]; the same on every machine."""
    channel, frame, place = np.ogrid[:channels, :frame_count, : len(spec.code_sizes)]
    mixed = (frame + 1) * 7919 + (place + 1) * 104_729 + channel * 611_953
    codes = (mixed % np.array(spec.code_sizes)).astype(np.uint16)
    shown = np.broadcast_to(np.asarray(levels, np.int64), (channels, frame_count)).copy()
    used = np.array([spec.codes_at(level) for level in range(spec.levels + 1)])
    codes[place >= used[shown][:, :, None]] = 0
    return codes, shown


def whole_sample_count(spec: CodecSpec, frame_count: int) -> int:
    return max(0, frame_count * spec.hop_samples - spec.delay_samples)


def make_file(
    header: ContainerHeader, codes: np.ndarray, levels: np.ndarray, block_frames: int = 4
) -> bytes:
    """Return a finished file of one segment that uses all its samples."""
    out = BytesIO()
    writer = ContainerWriter(out, header, block_frames)
    writer.write(codes, levels)
    count = whole_sample_count(header.codec, codes.shape[1])
    rate_hz, source_hz = header.codec.sample_rate_hz, header.source_sample_rate_hz
    writer.close(count, count * source_hz // rate_hz)
    return out.getvalue()


def joined(blocks: list[Block]) -> tuple[np.ndarray, np.ndarray]:
    """Return codes [C, T, K] and levels [C, T] of consecutive blocks."""
    return (
        np.concatenate([block.codes for block in blocks], axis=1),
        np.concatenate([block.levels for block in blocks], axis=1),
    )


class PipeEnd:
    """A source that can only be read on, a few bytes at a time."""

    def __init__(self, data: bytes, chunk_bytes: int) -> None:
        self._file = BytesIO(data)
        self._chunk_bytes = chunk_bytes

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, self._chunk_bytes))
