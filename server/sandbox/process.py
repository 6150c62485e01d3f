"""Reads uploads and makes audio files in a process of its own, which may die without harm.

Run as `python -m grove.server.sandbox.process`. What libraries written in C make of hostile bytes,
and what takes long enough to be felt by live streams, happens here.
"""

import os
import resource
import sys
from typing import Final

import msgspec

from grove.codec.errors import CodecError
from grove.server.sandbox.audio import decode_audio, write_audio
from grove.server.sandbox.messages import (
    ERROR,
    ORDER,
    Channel,
    DecodeAudio,
    Order,
    ReadTokens,
    Refusal,
    WriteAudio,
    refusal_of,
)
from grove.server.sandbox.tokens import read_tokens

# Live streams go first wherever the two compete for a core.
_NICENESS: Final = 5


def main() -> None:
    """Serve orders until stdin ends."""
    _limit(int(sys.argv[1]) * 2**20)
    channel = Channel(sys.stdin.buffer, sys.stdout.buffer)
    orders: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
    while (message := channel.take())[0]:
        kind, payload = message
        assert kind == ORDER, f"a message of kind {kind!r}, expected an order"
        try:
            match orders.decode(payload):
                case DecodeAudio() as order:
                    decode_audio(order, channel)
                case WriteAudio() as order:
                    write_audio(order, channel)
                case ReadTokens() as order:
                    read_tokens(order, channel)
        except CodecError as error:
            channel.put(ERROR, msgspec.json.encode(refusal_of(error)))
        except MemoryError:
            text = "the file needs more memory than one file may have"
            channel.put(ERROR, msgspec.json.encode(Refusal("audio", text, None)))


def _limit(memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(_NICENESS)


if __name__ == "__main__":
    main()
