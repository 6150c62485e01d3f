"""Audio in: files and byte streams of any kind as blocks of float32, in bounded memory."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import numpy as np
from pydantic import Field

from grove.codec.arrays import F32
from grove.codec.config import Frozen
from grove.codec.errors import AudioError, TruncatedAudioError
from grove.codec.resample import MAX_RATE_HZ, MIN_RATE_HZ
from grove.codec.sound.bytestream import ByteStream, shown_name, shown_path
from grove.codec.sound.pcm import OutputEncoding, PcmFormat
from grove.codec.sound.readers import BlockReader, PcmReader, open_decoder
from grove.codec.sound.sniff import SNIFF_BYTES, sniff
from grove.codec.sound.wav import read_wav_header

_SPOOL_BYTES: Final = 2**20
_ALLOW_TRUNCATED_HINT: Final = "what is there can be used by allowing truncated audio"


class AudioLimits(Frozen):
    """What one source may ask of us; a header that claims more is refused before it costs."""

    max_bytes: int = Field(2**34, ge=1)
    max_seconds: float = Field(86_400, gt=0)
    max_channels: int = Field(8, ge=1)
    min_rate_hz: int = Field(MIN_RATE_HZ, ge=MIN_RATE_HZ)
    max_rate_hz: int = Field(MAX_RATE_HZ, le=MAX_RATE_HZ)
    # Full scale is 1. Decoders overshoot it a little, samples scaled for integers by far.
    max_peak: float = Field(8, ge=1)


class RawFormat(Frozen):
    """Samples without a header: what they are must be told."""

    encoding: OutputEncoding = "s16le"
    sample_rate_hz: int = Field(ge=1)
    channels: int = Field(1, ge=1)

    @property
    def pcm(self) -> PcmFormat:
        return PcmFormat(self.encoding, self.sample_rate_hz, self.channels)


class AudioSource:
    """Blocks [n, C] of float32, once through. `declared_samples` is a claim, not a promise."""

    def __init__(
        self,
        reader: BlockReader,
        name: str,
        limits: AudioLimits,
        allow_truncated: bool,
        resources: ExitStack,
    ) -> None:
        self.name = name
        self.container = reader.container
        self.sample_rate_hz = reader.sample_rate_hz
        self.channels = reader.channels
        self.declared_samples = reader.declared_samples
        self.samples_read = 0
        self._reader = reader
        self._limits = limits
        self._allow_truncated = allow_truncated
        self._resources = resources
        self._check_claims()
        # Read ahead by one block: what is broken from the start fails where it is opened.
        self._next = self._read()
        if len(self._next) == 0:
            raise AudioError(f"{name}: holds zero samples, expected at least one")

    @property
    def shortfall(self) -> str | None:
        """What the end lacks, as far as is known by now; None if nothing."""
        return self._reader.shortfall

    def __iter__(self) -> Iterator[F32]:
        while len(block := self._next):
            self.samples_read += len(block)
            self._check_seconds(self.samples_read, "has")
            yield block
            self._next = self._read()

    def close(self) -> None:
        """Let go of the file; a file object that was passed in stays open."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self) -> F32:
        block = self._reader.read()
        if self._reader.shortfall is not None and not self._allow_truncated:
            raise TruncatedAudioError(
                f"{self.name}: is truncated: {self.shortfall}", hint=_ALLOW_TRUNCATED_HINT
            )
        if self._reader.is_float and len(block):
            self._check_range(block)
        return block

    def _check_claims(self) -> None:
        limits = self._limits
        if not limits.min_rate_hz <= self.sample_rate_hz <= limits.max_rate_hz:
            raise AudioError(
                f"{self.name}: has a sample rate of {self.sample_rate_hz} Hz, "
                f"expected {limits.min_rate_hz} to {limits.max_rate_hz}"
            )
        if not 1 <= self.channels <= limits.max_channels:
            raise AudioError(
                f"{self.name}: has {self.channels} channels, expected 1 to {limits.max_channels}"
            )
        if not self._allow_truncated:
            self._check_seconds(self.declared_samples or 0, "declares")

    def _check_seconds(self, samples: int, verb: str) -> None:
        seconds = samples / self.sample_rate_hz
        if seconds > self._limits.max_seconds:
            raise AudioError(
                f"{self.name}: {verb} {seconds:.1f} seconds of audio, "
                f"expected at most {self._limits.max_seconds:g}"
            )

    def _check_range(self, block: F32) -> None:
        # One comparison finds too large, infinite and not-a-number alike.
        if np.abs(block).max() <= self._limits.max_peak:
            return
        row, channel = np.argwhere(~(np.abs(block) <= self._limits.max_peak))[0]
        sample = self.samples_read + int(row)
        raise AudioError(
            f"{self.name}: sample {sample} ({sample / self.sample_rate_hz:.3f} s) "
            f"of channel {channel + 1} is {block[row, channel]:g}, "
            f"expected a number within ±{self._limits.max_peak:g}",
            hint="float samples have full scale at 1",
        )


def open_audio(
    source: str | Path | BinaryIO,
    limits: AudioLimits | None = None,
    *,
    raw: RawFormat | None = None,
    allow_truncated: bool = False,
    name: str | None = None,
) -> AudioSource:
    """Open a path, or a file object that need not be seekable, for reading block by block."""
    limits = limits or AudioLimits()
    resources = ExitStack()
    try:
        if isinstance(source, str | Path):
            name = name or shown_path(source)
            file = resources.enter_context(_opened(Path(source), name))
        else:
            file, name = source, name or shown_name(source)
        stream = ByteStream(file, name, limits.max_bytes)
        reader = _reader(file, stream, raw, allow_truncated, resources)
        return AudioSource(reader, name, limits, allow_truncated, resources)
    except OSError as error:
        resources.close()
        raise AudioError(f"{name}: cannot be read: {error.strerror or error}") from error
    except BaseException:
        resources.close()
        raise


def _opened(path: Path, name: str) -> BinaryIO:
    try:
        return path.open("rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioError(f"{name}: cannot be opened: {reason}, expected an audio file") from error


def _reader(
    file: BinaryIO,
    stream: ByteStream,
    raw: RawFormat | None,
    allow_truncated: bool,
    resources: ExitStack,
) -> BlockReader:
    if raw is not None:
        return PcmReader("raw", stream, raw.pcm, None)
    container = sniff(stream.peek(SNIFF_BYTES), stream.name)
    if container == "wav":
        return _wav_reader(stream, allow_truncated)
    size_bytes = stream.size_bytes
    if size_bytes is None or not stream.starts_file:
        # Decoders have to seek, so a pipe is copied first, within the limit on bytes.
        file = resources.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        size_bytes = _copied(stream, file)
    file.seek(0)
    reader = open_decoder(container, file, stream.name, size_bytes)
    resources.callback(reader.close)
    return reader


def _wav_reader(stream: ByteStream, allow_truncated: bool) -> PcmReader:
    header = read_wav_header(stream)
    data_bytes = header.data_bytes
    if data_bytes == 0 and allow_truncated:
        data_bytes = None  # a recorder that was killed never came back to fill its header in
    return PcmReader("wav", stream, header.pcm, data_bytes)


def _copied(stream: ByteStream, spool: BinaryIO) -> int:
    """Copy what is left of `stream` and return how many bytes that was."""
    try:
        while data := stream.take(_SPOOL_BYTES):
            spool.write(data)
        spool.flush()
    except OSError as error:
        raise AudioError(f"{stream.name}: no room to buffer it: {error.strerror}") from error
    return stream.position
