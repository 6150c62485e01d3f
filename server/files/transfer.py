"""Transfers: what a request or job asks for, as a stream of bytes out of a file on disk."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, assert_never

from grove.codec.container.records import MAGIC
from grove.codec.errors import AudioError, ModelMismatchError
from grove.codec.sound.sniff import SNIFF_BYTES, sniff
from grove.codec.stream import FrameFeed
from grove.server.engine.engine import Engine
from grove.server.files.codec import FileCodec, Progress, transcoded_samples
from grove.server.files.decoders import Decoders
from grove.server.files.formats import (
    TOKEN_MEDIA_TYPES,
    AudioFormat,
    TokenFormat,
    audio_media_type,
)
from grove.server.files.output import TokenFileInfo, audio_chunks, token_writer
from grove.server.files.token_files import TokenFile, open_tokens
from grove.server.models import Model, Shelf
from grove.server.problems import Problem, ProblemCode
from grove.server.sandbox.messages import NPY_MAGIC
from grove.server.sandbox.pool import SandboxPool

Operation = Literal["encode", "decode", "transcode"]


@dataclass(frozen=True)
class Encode:
    """Audio to tokens."""

    operation: ClassVar[Operation] = "encode"

    model: Model
    max_seconds: float
    levels: int
    format: TokenFormat

    @property
    def media_type(self) -> str:
        return TOKEN_MEDIA_TYPES[self.format]


@dataclass(frozen=True)
class Transcode:
    """Audio to what it sounds like after coding."""

    operation: ClassVar[Operation] = "transcode"

    model: Model
    max_seconds: float
    levels: int
    format: AudioFormat
    sample_rate_hz: int

    @property
    def media_type(self) -> str:
        return audio_media_type(self.format, self.sample_rate_hz)


@dataclass(frozen=True)
class Decode:
    """Tokens to audio."""

    operation: ClassVar[Operation] = "decode"

    model: Model
    max_seconds: float
    format: AudioFormat
    sample_rate_hz: int
    conceals_damage: bool = False

    @property
    def media_type(self) -> str:
        return audio_media_type(self.format, self.sample_rate_hz)

    def with_model(self, model: Model) -> "Decode":
        """Return the same for another model; a rate that was its default becomes the new one's."""
        was_default = self.sample_rate_hz == self.model.spec.sample_rate_hz
        rate_hz = model.spec.sample_rate_hz if was_default else self.sample_rate_hz
        return replace(self, model=model, sample_rate_hz=rate_hz)


Transfer = Encode | Transcode | Decode
"""One file to run through the codec. Format, model and levels are settled."""


@dataclass(frozen=True)
class Machinery:
    """What transfers run on."""

    engine: Engine
    pool: SandboxPool
    decoders: Decoders
    shelf: Shelf


@dataclass(frozen=True)
class OpenTransfer:
    """A transfer whose input was looked at: what it settles on, and its bytes to come."""

    transfer: Transfer
    damage: tuple[str, ...]
    chunks: AsyncGenerator[bytes, None]


@asynccontextmanager
async def open_transfer(
    transfer: Transfer,
    path: Path,
    machinery: Machinery,
    asked: Model | None,
    progress: Progress,
) -> AsyncIterator[OpenTransfer]:
    """Look at the file itself: its kind, and for tokens the model that made them."""
    check_kind(path, transfer.operation)
    match transfer:
        case Encode():
            chunks = _encoded(transfer, path, machinery, progress)
        case Transcode():
            chunks = _transcoded(transfer, path, machinery, progress)
        case Decode():
            async with _open_decode(transfer, path, machinery, asked, progress) as opened:
                yield opened
            return
        case _:
            assert_never(transfer)
    async with aclosing(chunks):
        yield OpenTransfer(transfer, (), chunks)


@asynccontextmanager
async def _open_decode(
    transfer: Decode, path: Path, machinery: Machinery, asked: Model | None, progress: Progress
) -> AsyncIterator[OpenTransfer]:
    async with open_tokens(machinery.pool, path) as tokens:
        settled = transfer.with_model(model_for(tokens.made_by, machinery.shelf, asked))
        await tokens.choose(settled.model, settled.max_seconds, settled.conceals_damage)
        progress.total_seconds = tokens.plan.frames / settled.model.spec.frame_rate_hz
        async with aclosing(_decoded(settled, tokens, machinery, progress)) as chunks:
            yield OpenTransfer(settled, tokens.plan.damage, chunks)


async def settled_transfer(
    transfer: Transfer, path: Path, machinery: Machinery, asked: Model | None
) -> Transfer:
    """Return what a transfer will be, without doing it."""
    check_kind(path, transfer.operation)
    if not isinstance(transfer, Decode):
        return transfer
    async with open_tokens(machinery.pool, path) as tokens:
        await tokens.leave()
        return transfer.with_model(model_for(tokens.made_by, machinery.shelf, asked))


def check_kind(path: Path, operation: Operation) -> None:
    """Refuse with 415 what is not the kind of file that an operation takes."""
    with path.open("rb") as file:
        head = file.read(SNIFF_BYTES)
    if operation == "decode":
        _check_tokens(head)
        return
    try:
        sniff(head, "the upload")
    except AudioError as error:
        raise Problem(ProblemCode.UNSUPPORTED_MEDIA, str(error), error.hint) from error


def model_for(made_by: str | None, shelf: Shelf, asked: Model | None) -> Model:
    """Return the model that decodes tokens; it must be the one asked for, if any."""
    if made_by is None:
        return asked or shelf.default
    model = asked or shelf.find_for_tokens(made_by)
    if model is None or made_by not in {model.spec.model_sha256, *model.accepted_models}:
        name = f"{model.spec.name} does not decode" if model else "no model here decodes"
        raise ModelMismatchError(f"the tokens were made by model {made_by[:12]}, which {name}")
    return model


async def _encoded(
    transfer: Encode, path: Path, machinery: Machinery, progress: Progress
) -> AsyncGenerator[bytes, None]:
    spec, codec = transfer.model.spec, FileCodec(machinery.engine, transfer.model, progress)
    async with machinery.decoders.open(
        path, spec.sample_rate_hz, transfer.max_seconds, exact_length=False
    ) as decoded:
        progress.total_seconds = decoded.expected_seconds
        info = TokenFileInfo(decoded.sample_rate_hz, decoded.channels)
        writer = token_writer(transfer.format, spec, info, transfer.levels)
        feed = FrameFeed(spec)
        async for stepped in codec.encode(decoded, feed, transfer.levels):
            yield writer.write(stepped)
        assert decoded.end is not None
        yield writer.finish(feed.samples, decoded.end.source_samples)


async def _transcoded(
    transfer: Transcode, path: Path, machinery: Machinery, progress: Progress
) -> AsyncGenerator[bytes, None]:
    spec, rate_hz = transfer.model.spec, transfer.sample_rate_hz
    codec = FileCodec(machinery.engine, transfer.model, progress)
    async with machinery.decoders.open(
        path, spec.sample_rate_hz, transfer.max_seconds, exact_length=True
    ) as decoded:
        progress.total_seconds = decoded.expected_seconds
        samples = transcoded_samples(decoded, spec, rate_hz)
        blocks = codec.transcode(decoded, rate_hz, transfer.levels)
        async for data in audio_chunks(blocks, transfer.format, rate_hz, samples, machinery.pool):
            yield data


async def _decoded(
    transfer: Decode, tokens: TokenFile, machinery: Machinery, progress: Progress
) -> AsyncGenerator[bytes, None]:
    rate_hz = transfer.sample_rate_hz
    blocks = FileCodec(machinery.engine, transfer.model, progress).decode(tokens, rate_hz)
    samples = tokens.samples_at(transfer.model.spec, rate_hz)
    async for data in audio_chunks(blocks, transfer.format, rate_hz, samples, machinery.pool):
        yield data


def _check_tokens(head: bytes) -> None:
    if not (head.startswith((MAGIC, NPY_MAGIC)) or head.lstrip()[:1] == b"{"):
        raise Problem(
            ProblemCode.UNSUPPORTED_MEDIA,
            f"the upload starts with {head[:8].hex(' ')}, expected a container, npy or JSON",
        )
