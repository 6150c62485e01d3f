"""Tokens in JSON in bounded memory: the codes piece by piece, the rest as one small object."""

import re
from collections.abc import Iterator
from itertools import chain
from mmap import mmap
from typing import Annotated, Final

import msgspec
import numpy as np

from grove.codec.arrays import I64, U16
from grove.codec.config import CodecSpec
from grove.codec.errors import BitstreamError

_PIECE_BYTES: Final = 1 << 16
_MAX_REST_BYTES: Final = 8 << 20

_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_SCALAR: Final = re.compile(rb"[-+.\w]++")
_STRUCTURE: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)
_NO_FRAMES: Final = re.compile(rb"\[[ \t\r\n]*+\]")
_LAST_FRAME_END: Final = re.compile(rb"\][ \t\r\n]*+\]")
_COMMA: Final = re.compile(rb"[ \t\r\n]*+,[ \t\r\n]*+")


class TokenDocument(msgspec.Struct, frozen=True):
    """What `/v1/decode` reads of the JSON form, but for the codes."""

    levels: list[int] | None = None
    samples: int | None = None
    sha256: str | None = None


_Code = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
_frames_decoder: Final = msgspec.json.Decoder(list[list[_Code]])
_document_decoder: Final = msgspec.json.Decoder(TokenDocument)


class JsonTokens:
    """One file of tokens in JSON."""

    def __init__(self, data: mmap) -> None:
        self._data = data
        self._start, self._end = _find_codes(data)
        rest_bytes = len(data) - (self._end - self._start)
        if rest_bytes > _MAX_REST_BYTES:
            raise _too_much_else(rest_bytes)
        try:
            self.document = _document_decoder.decode(data[: self._start] + b"0" + data[self._end :])
        except (msgspec.DecodeError, RecursionError) as error:
            raise _damaged(str(error)) from error

    def read(self, spec: CodecSpec, max_frames: int) -> tuple[U16, I64]:
        """Return codes [T, K] with levels [T], stopping at what is wrong with them."""
        by_codes = {spec.codes_at(level): level for level in range(spec.levels + 1)}
        parts: list[U16] = [np.zeros((0, len(spec.code_sizes)), np.uint16)]
        levels: list[I64] = [np.zeros(0, np.int64)]
        frames = 0
        for piece in self._pieces():
            frames += len(piece)
            if frames > max_frames:
                raise BitstreamError(f"there are {frames} frames or more, at most {max_frames}")
            counts = np.fromiter(map(len, piece), np.int64, len(piece))
            parts.append(_wide(piece, counts, by_codes, spec, frames - len(piece)))
            levels.append(np.array([by_codes[count] for count in counts.tolist()], np.int64))
        codes, told = np.concatenate(parts), np.concatenate(levels)
        if self.document.levels is not None and self.document.levels != told.tolist():
            raise BitstreamError("`levels` does not agree with how many codes the frames have")
        _check_samples(self.document.samples, len(codes), spec)
        return codes, told

    def _pieces(self) -> Iterator[list[list[int]]]:
        """Yield frames, some thousand at a time."""
        data, position, end = self._data, self._start + 1, self._end - 1
        if _NO_FRAMES.match(data, self._start):
            return
        while position < end:
            stop = data.rfind(b"]", position, min(position + _PIECE_BYTES, end)) + 1
            if stop == 0:
                raise _damaged(f"a frame has no end within {_PIECE_BYTES} bytes")
            try:
                yield _frames_decoder.decode(b"[" + data[position:stop] + b"]")
            except (msgspec.DecodeError, RecursionError) as error:
                raise _damaged(str(error)) from error
            position = _next_frame(data, stop, end)


def _next_frame(data: mmap, stop: int, end: int) -> int:
    """Return where the frame behind the comma at `stop` starts, `end` behind the last one."""
    if _SPACE.fullmatch(data, stop, end):
        return end
    comma = _COMMA.match(data, stop, end)
    if comma is None or comma.end() == end:
        raise _damaged("frames are not parted by single commas")
    return comma.end()


def _wide(
    frames: list[list[int]], counts: I64, by_codes: dict[int, int], spec: CodecSpec, first: int
) -> U16:
    """Return frames as codes [n, K], zero above what each carries."""
    known = np.isin(counts, list(by_codes))
    if not known.all():
        place = int(np.argmin(known))
        raise BitstreamError(
            f"frame {first + place} has {counts[place]} codes, expected one of {list(by_codes)}"
        )
    wide = np.zeros((len(frames), len(spec.code_sizes)), np.uint16)
    used = np.arange(wide.shape[1]) < counts[:, None]
    wide[used] = np.fromiter(chain.from_iterable(frames), np.uint16, int(counts.sum()))
    check_books(wide, spec)
    return wide


def check_books(codes: U16, spec: CodecSpec) -> None:
    """Refuse codes [n, k] outside their books."""
    sizes = np.array(spec.code_sizes[: codes.shape[1]])
    largest = codes.max(axis=0, initial=0)
    if (largest >= sizes).any():
        book = int(np.flatnonzero(largest >= sizes)[0])
        raise BitstreamError(f"code {largest[book]} in book {book}, expected below {sizes[book]}")


def _check_samples(samples: int | None, frames: int, spec: CodecSpec) -> None:
    decodable = spec.decodable_samples(frames)
    if samples is not None and not 0 <= samples <= decodable:
        raise BitstreamError(f"samples is {samples}, {frames} frames hold 0 to {decodable}")


def _find_codes(data: mmap) -> tuple[int, int]:
    """Return where the value of the one `codes` at the top starts and ends."""
    position = _after(data, _space(data, 0), b"{")
    found: tuple[int, int] | None = None
    while True:
        key = _STRING.match(data, position)
        if key is None:
            break
        start = _after(data, _space(data, key.end()), b":")
        is_codes = key.group() == b'"codes"' and found is None
        end = _codes_end(data, start) if is_codes else _value_end(data, start)
        found = (start, end) if is_codes else found
        position = _space(data, end)
        if data[position : position + 1] != b",":
            break
        position = _space(data, position + 1)
    if found is None:
        raise _damaged("no `codes` was found")
    return found


def _codes_end(data: mmap, start: int) -> int:
    if data[start : start + 1] != b"[":
        raise _damaged("`codes` is not an array")
    match = _NO_FRAMES.match(data, start) or _LAST_FRAME_END.search(data, start)
    if match is None:
        raise _damaged("`codes` has no end")
    return match.end()


def _value_end(data: mmap, start: int) -> int:
    """Return the end of a value that is none of codes."""
    match = _SCALAR.match(data, start) or _STRING.match(data, start)
    if match is not None:
        return match.end()
    depth = 0
    for token in _STRUCTURE.finditer(data, start):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(token.group(), 0)
        if depth <= 0:
            return token.end()
        if token.end() - start > _MAX_REST_BYTES:
            raise _too_much_else(token.end() - start)
    raise _damaged("a value has no end")


def _space(data: mmap, position: int) -> int:
    match = _SPACE.match(data, position)
    assert match is not None, "a pattern that may be empty"
    return match.end()


def _after(data: mmap, position: int, mark: bytes) -> int:
    if data[position : position + 1] != mark:
        what = data[position : position + 1].decode("latin-1") or "the end"
        raise _damaged(f"{what!r}, expected {mark.decode()!r}")
    return _space(data, position + 1)


def _too_much_else(size_bytes: int) -> BitstreamError:
    return BitstreamError(
        f"the JSON has {size_bytes} bytes or more besides its codes, at most {_MAX_REST_BYTES}"
    )


def _damaged(how: str) -> BitstreamError:
    return BitstreamError(f"the JSON tokens are damaged: {how}")
