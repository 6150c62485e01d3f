"""Token files in a sandbox process: checked as a whole, then told block by block."""

import io
from collections.abc import Iterator
from contextlib import ExitStack
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import numpy as np

from grove.codec.arrays import I64, U16
from grove.codec.config import CodecSpec
from grove.codec.container.assembler import Block, SegmentStart
from grove.codec.container.file import ContainerFile
from grove.codec.container.records import MAGIC
from grove.codec.errors import BitstreamError
from grove.server.sandbox.messages import (
    CHOICE,
    CODES,
    CODES_HEAD,
    END,
    HEAD,
    NPY_MAGIC,
    PLAN,
    SEGMENT,
    Channel,
    ReadTokens,
    SegmentHead,
    TokenChoice,
    TokenHead,
    TokenPlan,
)
from grove.server.sandbox.token_document import JsonTokens, check_books

_BLOCK_FRAMES: Final = 1024
_MOST_DAMAGE_TOLD: Final = 8

Told = SegmentHead | tuple[U16, I64]


def read_tokens(order: ReadTokens, channel: Channel) -> None:
    """Say who made a file; once a model is chosen, check all of it, then tell all of it."""
    with ExitStack() as stack:
        source = _opened(Path(order.path), stack)
        channel.put(HEAD, msgspec.json.encode(TokenHead(source.made_by)))
        kind, payload = channel.take()
        if kind == CHOICE:
            choice = msgspec.json.decode(payload, type=TokenChoice)
            spec = CodecSpec.model_validate_json(choice.spec)
            channel.put(PLAN, msgspec.json.encode(source.checked(spec, choice)))
            for told in source.told(spec):
                _tell(told, channel)
        channel.put(END)


def _tell(told: Told, channel: Channel) -> None:
    match told:
        case SegmentHead():
            channel.put(SEGMENT, msgspec.json.encode(told))
        case codes, levels:
            head = CODES_HEAD.pack(*codes.shape)
            channel.put(CODES, head + levels.astype(np.uint8).tobytes() + codes.tobytes())


def _opened(path: Path, stack: ExitStack) -> "_Source":
    file = stack.enter_context(path.open("rb"))
    head = file.read(len(MAGIC))
    file.seek(0)
    if head == MAGIC:
        return _GrvSource(file)
    if head.startswith(NPY_MAGIC):
        return _NpySource(path)
    return _JsonSource(stack.enter_context(mmap(file.fileno(), 0, access=ACCESS_READ)))


class _GrvSource:
    """A container. A damaged one is refused, unless its gaps are to be concealed."""

    def __init__(self, file: BinaryIO) -> None:
        self._container = ContainerFile(io.BufferedReader(file.raw, 1 << 16))  # type: ignore[attr-defined]
        self.made_by: str | None = self._container.header.codec.model_sha256

    def checked(self, spec: CodecSpec, choice: TokenChoice) -> TokenPlan:
        container = self._container
        header = container.header
        header.check_model(spec, choice.accepted_models)
        _check_frames(container.frame_count, header.codec, choice.max_seconds)
        if header.channels != 1:
            raise BitstreamError(
                f"the file has {header.channels} channels, the service takes 1",
                hint="decode it with the command line",
            )
        damage = tuple(str(one) for one in container.verify())
        more = len(damage) - _MOST_DAMAGE_TOLD + container.omitted_damage_count
        if damage and not choice.conceals_damage:
            rest = f" (and {len(damage) - 1 + container.omitted_damage_count} more)"
            raise BitstreamError(
                f"the container is damaged: {damage[0]}{rest if len(damage) > 1 else ''}",
                hint="damage=conceal decodes what is left, at full length",
            )
        told = damage[:_MOST_DAMAGE_TOLD] + ((f"{more} more",) if more > 0 else ())
        counts = tuple(one.sample_count for one in container.segments)
        return TokenPlan(container.frame_count, counts, told)

    def told(self, spec: CodecSpec) -> Iterator[Told]:  # noqa: ARG002 - as the other sources
        counts = iter([segment.sample_count for segment in self._container.segments])
        for event in self._container.events():
            match event:
                case SegmentStart():
                    yield SegmentHead(event.skip_samples, next(counts, None))
                case Block():
                    yield event.codes[0], event.levels[0]


class _NpySource:
    """An array, mapped, so that what its header claims is never allocated."""

    made_by: str | None = None

    def __init__(self, path: Path) -> None:
        try:
            codes = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError, SyntaxError) as error:
            raise BitstreamError(f"the npy file is damaged: {error}") from error
        self._codes = codes

    def checked(self, spec: CodecSpec, choice: TokenChoice) -> TokenPlan:
        codes = self._codes
        widths = [spec.codes_at(level) for level in range(1, spec.levels + 1)]
        if codes.dtype != np.uint16 or codes.ndim != 2 or codes.shape[1] not in widths:
            raise BitstreamError(
                f"the array is {codes.dtype} {codes.shape}, "
                f"expected uint16 [frames, n], n in {widths}"
            )
        _check_frames(len(codes), spec, choice.max_seconds)
        for start in range(0, len(codes), _BLOCK_FRAMES):
            check_books(np.asarray(codes[start : start + _BLOCK_FRAMES]), spec)
        return TokenPlan(len(codes), None, ())

    def told(self, spec: CodecSpec) -> Iterator[Told]:
        used = self._codes.shape[1]
        level = [spec.codes_at(level) for level in range(spec.levels + 1)].index(used)
        yield SegmentHead(0, None)
        for start in range(0, len(self._codes), _BLOCK_FRAMES):
            rows = self._codes[start : start + _BLOCK_FRAMES]
            wide = np.zeros((len(rows), len(spec.code_sizes)), np.uint16)
            wide[:, :used] = rows
            yield wide, np.full(len(rows), level, np.int64)


class _JsonSource:
    """The JSON form."""

    def __init__(self, data: mmap) -> None:
        self._tokens = JsonTokens(data)
        self._codes: U16 = np.zeros((0, 0), np.uint16)
        self._levels: I64 = np.zeros(0, np.int64)
        self.made_by: str | None = self._tokens.document.sha256

    def checked(self, spec: CodecSpec, choice: TokenChoice) -> TokenPlan:
        max_frames = int(choice.max_seconds * spec.frame_rate_hz)
        self._codes, self._levels = self._tokens.read(spec, max_frames)
        samples = self._tokens.document.samples
        counts = None if samples is None else (samples,)
        return TokenPlan(len(self._codes), counts, ())

    def told(self, spec: CodecSpec) -> Iterator[Told]:  # noqa: ARG002 - as the other sources
        yield SegmentHead(0, self._tokens.document.samples)
        for start in range(0, len(self._codes), _BLOCK_FRAMES):
            stop = start + _BLOCK_FRAMES
            yield self._codes[start:stop], self._levels[start:stop]


_Source = _GrvSource | _NpySource | _JsonSource


def _check_frames(frames: int, spec: CodecSpec, max_seconds: float) -> None:
    seconds = frames / spec.frame_rate_hz
    if seconds > max_seconds:
        raise BitstreamError(
            f"the tokens last {seconds:.1f} seconds, expected at most {max_seconds:g}"
        )
