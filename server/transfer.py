"""What a request or job asks for, as a stream of bytes out of a file on disk."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final, Literal

import msgspec
import numpy as np

from codec.container import ContainerFile
from codec.container_records import MAGIC
from codec.errors import AudioError, BitstreamError, ModelMismatchError
from codec.sniff import SNIFF_BYTES, sniff
from codec.stream import FrameFeed
from server.decoders import DecoderPool
from server.engine import Engine
from server.files import (
    FileCodec,
    Progress,
    TokenFile,
    container_tokens,
    plain_tokens,
    transcoded_samples,
)
from server.formats import AUDIO_MEDIA_TYPES, TOKEN_MEDIA_TYPES, AudioFormat, TokenFormat
from server.models import Model, Shelf
from server.output import (
    TokenDocument,
    TokenFileInfo,
    audio_chunks,
    levels_of_rows,
    token_writer,
)
from server.problems import Problem, ProblemCode
from server.work import I64, U16

_NPY_MAGIC: Final = b"\x93NUMPY"
_MAX_JSON_BYTES: Final = 32 * 2**20

Operation = Literal["encode", "decode", "transcode"]


@dataclass(frozen=True)
class Transfer:
    """One file to run through the codec. Formats, model and levels are settled."""

    operation: Operation
    model: Model
    levels: int
    audio_format: AudioFormat
    token_format: TokenFormat
    sample_rate_hz: int
    max_seconds: float

    def with_model(self, model: Model) -> "Transfer":
        """Return the same for another model; a rate that was its default becomes the new one's."""
        was_default = self.sample_rate_hz == self.model.spec.sample_rate_hz
        rate_hz = model.spec.sample_rate_hz if was_default else self.sample_rate_hz
        return replace(self, model=model, sample_rate_hz=rate_hz)

    @property
    def media_type(self) -> str:
        if self.operation == "encode":
            return TOKEN_MEDIA_TYPES[self.token_format]
        return AUDIO_MEDIA_TYPES[self.audio_format]

    @property
    def extension(self) -> str:
        return self.token_format if self.operation == "encode" else self.audio_format


@dataclass(frozen=True)
class Machinery:
    """What transfers run on."""

    engine: Engine
    decoders: DecoderPool


async def transfer_chunks(
    transfer: Transfer, path: Path, machinery: Machinery, progress: Progress
) -> AsyncGenerator[bytes, None]:
    """Yield the reply, piece by piece as it is computed; a piece may be empty."""
    codec = FileCodec(machinery.engine, transfer.model, progress)
    match transfer.operation:
        case "encode":
            chunks = _encoded(transfer, path, machinery, codec)
        case "transcode":
            chunks = _transcoded(transfer, path, machinery, codec)
        case "decode":
            chunks = _decoded(transfer, path, codec)
    async for chunk in chunks:
        yield chunk


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


def find_token_model(path: Path, shelf: Shelf, asked: Model | None) -> Model:
    """Return the model that decodes a token file; it must be the one asked for, if any."""
    made_by = _made_by(path)
    if made_by is None:
        return asked or shelf.default
    model = asked or shelf.find_for_tokens(made_by)
    if model is None or made_by not in {model.spec.model_sha256, *model.accepted_models}:
        name = f"{model.spec.name} does not decode" if model else "no model here decodes"
        raise ModelMismatchError(f"the tokens were made by model {made_by[:12]}, which {name}")
    return model


async def _encoded(
    transfer: Transfer, path: Path, machinery: Machinery, codec: FileCodec
) -> AsyncIterator[bytes]:
    spec = transfer.model.spec
    async with machinery.decoders.open(path, spec.sample_rate_hz, transfer.max_seconds) as decoded:
        info = TokenFileInfo(decoded.sample_rate_hz, decoded.channels)
        writer = token_writer(transfer.token_format, spec, info, transfer.levels)
        feed = FrameFeed(spec)
        async for stepped in codec.encode(decoded, feed, transfer.levels):
            yield writer.write(stepped)
        assert decoded.end is not None
        yield writer.finish(feed.samples, decoded.end.source_samples)


async def _transcoded(
    transfer: Transfer, path: Path, machinery: Machinery, codec: FileCodec
) -> AsyncIterator[bytes]:
    spec, rate_hz = transfer.model.spec, transfer.sample_rate_hz
    async with machinery.decoders.open(path, spec.sample_rate_hz, transfer.max_seconds) as decoded:
        samples = transcoded_samples(decoded, spec, rate_hz)
        blocks = codec.transcode(decoded, rate_hz, transfer.levels)
        async for data in audio_chunks(blocks, transfer.audio_format, rate_hz, samples):
            yield data


async def _decoded(transfer: Transfer, path: Path, codec: FileCodec) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        tokens = await asyncio.to_thread(_open_tokens, file, transfer)
        blocks = codec.decode(tokens, transfer.sample_rate_hz)
        samples = tokens.samples_at(transfer.model.spec, transfer.sample_rate_hz)
        async for data in audio_chunks(
            blocks, transfer.audio_format, transfer.sample_rate_hz, samples
        ):
            yield data


# --- token files --------------------------------------------------------------------------


def _check_tokens(head: bytes) -> None:
    if not (head.startswith((MAGIC, _NPY_MAGIC)) or head.lstrip()[:1] == b"{"):
        raise Problem(
            ProblemCode.UNSUPPORTED_MEDIA,
            f"the upload starts with {head[:8].hex(' ')}, expected a container, npy or JSON",
        )


def _made_by(path: Path) -> str | None:
    """Return the hash of the model that made a token file, where it says so."""
    with path.open("rb") as file:
        head = file.read(len(MAGIC))
        file.seek(0)
        if head == MAGIC:
            return ContainerFile(file).header.codec.model_sha256
        if head.startswith(_NPY_MAGIC):
            return None
        return _read_document(file).sha256


def _open_tokens(file: BinaryIO, transfer: Transfer) -> TokenFile:
    head = file.read(len(MAGIC))
    file.seek(0)
    model = transfer.model
    if head == MAGIC:
        container = ContainerFile(file)
        container.header.check_model(model.spec, model.accepted_models)
        return container_tokens(container, transfer.max_seconds)
    if head.startswith(_NPY_MAGIC):
        codes, levels = levels_of_rows(_read_npy(file, model), model.spec)
        _check_seconds(len(codes), transfer)
        return plain_tokens(codes, levels, None)
    document = _read_document(file)
    codes, levels = _document_codes(document, model)
    _check_seconds(len(codes), transfer)
    return plain_tokens(codes, levels, document.samples)


def _read_npy(file: BinaryIO, model: Model) -> U16:
    spec = model.spec
    widths = [spec.codes_at(level) for level in range(1, spec.levels + 1)]
    try:
        # Mapped, so that what a header claims is never allocated.
        codes = np.load(file.name, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise BitstreamError(f"the npy file is damaged: {error}") from error
    if codes.dtype != np.uint16 or codes.ndim != 2 or codes.shape[1] not in widths:
        raise BitstreamError(
            f"the array is {codes.dtype} {codes.shape}, expected uint16 [frames, n], n in {widths}"
        )
    _check_books(np.asarray(codes), model)
    return np.asarray(codes)


def _read_document(file: BinaryIO) -> TokenDocument:
    data = file.read(_MAX_JSON_BYTES + 1)
    if len(data) > _MAX_JSON_BYTES:
        raise BitstreamError(
            f"tokens in JSON may have {_MAX_JSON_BYTES} bytes", hint="send a container or npy"
        )
    try:
        return msgspec.json.decode(data, type=TokenDocument)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BitstreamError(f"the JSON tokens are damaged: {error}") from error


def _document_codes(document: TokenDocument, model: Model) -> tuple[U16, I64]:
    spec = model.spec
    by_codes = {spec.codes_at(level): level for level in range(spec.levels + 1)}
    codes = np.zeros((len(document.codes), len(spec.code_sizes)), np.uint16)
    levels = np.zeros(len(document.codes), np.int64)
    for place, frame in enumerate(document.codes):
        if len(frame) not in by_codes or not all(0 <= code < 65_536 for code in frame):
            raise BitstreamError(
                f"frame {place} has {len(frame)} codes, expected {list(by_codes)} within 0..65535"
            )
        codes[place, : len(frame)] = frame
        levels[place] = by_codes[len(frame)]
    if document.levels is not None and document.levels != levels.tolist():
        raise BitstreamError("`levels` does not agree with how many codes the frames have")
    decodable = max(0, len(codes) * spec.hop_samples - spec.delay_samples)
    if document.samples is not None and not 0 <= document.samples <= decodable:
        raise BitstreamError(
            f"samples is {document.samples}, {len(codes)} frames hold 0 to {decodable}"
        )
    _check_books(codes, model)
    return codes, levels


def _check_books(codes: U16, model: Model) -> None:
    sizes = np.array(model.spec.code_sizes[: codes.shape[1]])
    largest = codes.max(axis=0, initial=0)
    if (largest >= sizes).any():
        book = int(np.flatnonzero(largest >= sizes)[0])
        raise BitstreamError(f"code {largest[book]} in book {book}, expected below {sizes[book]}")


def _check_seconds(frames: int, transfer: Transfer) -> None:
    seconds = frames / transfer.model.spec.frame_rate_hz
    if seconds > transfer.max_seconds:
        raise BitstreamError(
            f"the tokens last {seconds:.1f} seconds, expected at most {transfer.max_seconds:g}"
        )
