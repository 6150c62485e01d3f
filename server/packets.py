"""Audio and tokens as messages: binary packets, or base64 in JSON."""

from itertools import pairwise

import numpy as np

from codec.config import CodecSpec
from codec.pcm import OutputEncoding
from server.outbox import Message
from server.protocol import (
    HEADER_BYTES,
    KIND_AUDIO,
    KIND_TOKENS,
    MAX_LOST_FRAMES,
    AudioOut,
    Encoding,
    ErrorCode,
    PacketHeader,
    SessionError,
    TokensOut,
    encode_message,
    pack_header,
)
from server.work import I64, U16

PCM_ENCODINGS: dict[Encoding, OutputEncoding] = {
    "pcm_s16le": "s16le",
    "pcm_f32le": "f32le",
    "mulaw": "mulaw",
    "alaw": "alaw",
}


def audio_message(is_json: bool, message: AudioOut) -> Message:
    if is_json:
        return encode_message(message)
    header = PacketHeader(message.sequence, message.index, message.count, 0, KIND_AUDIO)
    return pack_header(header) + message.data


def tokens_message(is_json: bool, message: TokensOut) -> Message:
    if is_json:
        return encode_message(message)
    header = PacketHeader(
        message.sequence, message.index, message.count, message.levels, KIND_TOKENS
    )
    return pack_header(header) + message.data


def level_runs(levels: I64) -> list[tuple[int, int]]:
    """Return the ranges of frames between which the level changes."""
    if len(levels) == 1:
        return [(0, 1)]
    edges = [0, *(np.flatnonzero(np.diff(levels)) + 1).tolist(), len(levels)]
    return [(start, stop) for start, stop in pairwise(edges) if stop > start]


def unpack_codes(spec: CodecSpec, header: PacketHeader, payload: bytes | memoryview) -> U16:
    """Return codes [count, K] of a token packet, zero above its levels."""
    if header.levels > spec.levels:
        raise SessionError(
            ErrorCode.BAD_TOKENS, f"levels are {header.levels}, the model has {spec.levels}"
        )
    used = spec.codes_at(header.levels)
    if header.levels == 0:
        check_lost(header.count)
    expected = 2 * used * header.count
    if len(payload) != expected:
        raise SessionError(
            ErrorCode.BAD_PACKET,
            f"{header.count} frames of {used} codes take {expected} bytes behind the "
            f"{HEADER_BYTES} of the header, got {len(payload)}",
        )
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
