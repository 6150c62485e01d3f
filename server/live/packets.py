"""Audio and tokens as messages: binary packets, or base64 in JSON."""

from itertools import pairwise

import numpy as np

from grove.codec.arrays import I64, U16
from grove.codec.bitstream import pack_frames, pack_packet, packed_bytes, unpack_frames
from grove.codec.config import CodecSpec
from grove.codec.errors import BitstreamError
from grove.codec.sound.pcm import OutputEncoding
from grove.server.live.outbox import Message
from grove.server.protocol import (
    MAX_LOST_FRAMES,
    AudioOut,
    Encoding,
    ErrorCode,
    PacketHeader,
    SessionError,
    TokensOut,
    audio_head,
    encode_message,
    tokens_head,
)

PCM_ENCODINGS: dict[Encoding, OutputEncoding] = {
    "pcm_s16le": "s16le",
    "pcm_f32le": "f32le",
    "mulaw": "mulaw",
    "alaw": "alaw",
}


def audio_message(is_json: bool, message: AudioOut) -> Message:
    return encode_message(message) if is_json else audio_head(message.sequence) + message.data


def tokens_message(spec: CodecSpec, is_json: bool, header: PacketHeader, codes: U16) -> Message:
    """Return codes [count, K]: packed to the bit, or in JSON as 16-bit numbers."""
    if is_json:
        data = codes[:, : spec.codes_at(header.levels)].tobytes()
        return encode_message(
            TokensOut(header.sequence, header.index, header.count, header.levels, data)
        )
    # One frame is by far the most common packet, and has a quicker way.
    packed = (
        pack_packet(spec, codes[0], header.levels)
        if header.count == 1
        else pack_frames(spec, codes, header.levels)
    )
    return tokens_head(header.sequence, header.levels, header.count) + packed


def level_runs(levels: I64) -> list[tuple[int, int]]:
    """Return the ranges of frames between which the level changes."""
    if len(levels) == 1:
        return [(0, 1)]
    edges = [0, *(np.flatnonzero(np.diff(levels)) + 1).tolist(), len(levels)]
    return [(start, stop) for start, stop in pairwise(edges) if stop > start]


def unpack_codes(
    spec: CodecSpec, header: PacketHeader, payload: bytes | memoryview, is_json: bool
) -> U16:
    """Return codes [count, K] of a token packet, zero above its levels."""
    if header.levels > spec.levels:
        raise SessionError(
            ErrorCode.BAD_TOKENS, f"levels are {header.levels}, the model has {spec.levels}"
        )
    if header.levels == 0:
        check_lost(header.count)
    used = spec.codes_at(header.levels)
    expected = 2 * used * header.count
    if not is_json:
        expected = packed_bytes(spec, header.count, header.levels)
    if len(payload) != expected:
        raise SessionError(
            ErrorCode.BAD_PACKET,
            f"{header.count} frames of {used} codes take {expected} bytes behind the header, "
            f"got {len(payload)}",
        )
    if not is_json:
        try:
            return unpack_frames(spec, bytes(payload), header.count, header.levels)
        except BitstreamError as error:
            raise SessionError(ErrorCode.BAD_TOKENS, str(error)) from error
    codes = np.zeros((header.count, len(spec.code_sizes)), np.uint16)
    codes[:, :used] = np.frombuffer(payload, "<u2").reshape(header.count, used)
    largest = codes.max(axis=0, initial=0)
    if (largest >= spec.code_sizes).any():
        book = int(np.flatnonzero(largest >= spec.code_sizes)[0])
        raise SessionError(
            ErrorCode.BAD_TOKENS,
            f"code {largest[book]} in book {book}, expected below {spec.code_sizes[book]}",
        )
    return codes


def check_lost(count: int) -> None:
    """Refuse losses that a few bytes could not otherwise claim."""
    if not 1 <= count <= MAX_LOST_FRAMES:
        raise SessionError(
            ErrorCode.BAD_PACKET, f"{count} frames lost at once, expected 1 to {MAX_LOST_FRAMES}"
        )
