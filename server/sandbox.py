"""Decodes one uploaded file after another, in a process of its own that may die without harm.

Run as `python -m server.sandbox`: each line on stdin is an `Order`; on stdout come a head, samples
and an end (or an error), each behind one byte of kind and four of length.
"""

import resource
import struct
import sys
from typing import BinaryIO, Final

import msgspec

from codec.audio import AudioLimits, open_audio
from codec.channels import down_mix
from codec.errors import CodecError
from codec.resample import Resampler

FRAME: Final = struct.Struct("<cI")
HEAD, SAMPLES, END, ERROR = b"h", b"s", b"e", b"x"
_BLOCK_SAMPLES: Final = 1 << 16


class Order(msgspec.Struct, frozen=True):
    """Which file to decode, to which rate, within which limits."""

    path: str
    sample_rate_hz: int
    max_bytes: int
    max_seconds: float
    max_channels: int


class Head(msgspec.Struct, frozen=True):
    """What the file says it is; the count is a claim."""

    container: str
    sample_rate_hz: int
    channels: int
    declared_samples: int | None


class End(msgspec.Struct, frozen=True):
    """How many samples the file had, at its own rate."""

    source_samples: int


class Refusal(msgspec.Struct, frozen=True):
    """Why the file cannot be used."""

    message: str
    hint: str | None


def main() -> None:
    """Serve orders until stdin ends."""
    _limit_memory(int(sys.argv[1]) * 2**20)
    out = sys.stdout.buffer
    orders = msgspec.json.Decoder(Order)
    for line in sys.stdin.buffer:
        try:
            _decode(orders.decode(line), out)
        except CodecError as error:
            _put(out, ERROR, msgspec.json.encode(Refusal(str(error), error.hint)))
        except MemoryError:
            refusal = Refusal("the file needs more memory to decode than one file may have", None)
            _put(out, ERROR, msgspec.json.encode(refusal))


def _decode(order: Order, out: BinaryIO) -> None:
    limits = AudioLimits(
        max_bytes=order.max_bytes,
        max_seconds=order.max_seconds,
        max_channels=order.max_channels,
    )
    with open_audio(order.path, limits, name="the upload") as source:
        head = Head(
            source.container, source.sample_rate_hz, source.channels, source.declared_samples
        )
        _put(out, HEAD, msgspec.json.encode(head))
        resampler = Resampler(source.sample_rate_hz, order.sample_rate_hz)
        for block in source:
            _put(out, SAMPLES, resampler.push(down_mix(block)).tobytes())
        _put(out, SAMPLES, resampler.finish().tobytes())
        _put(out, END, msgspec.json.encode(End(source.samples_read)))


def _put(out: BinaryIO, kind: bytes, payload: bytes) -> None:
    out.write(FRAME.pack(kind, len(payload)) + payload)
    out.flush()


def _limit_memory(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
