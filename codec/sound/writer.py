"""Audio out: WAV, FLAC, Ogg or plain samples, to a file that appears whole, or into a pipe."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Literal, assert_never

import numpy as np
import soundfile
from pydantic import Field

from grove.codec.arrays import F32
from grove.codec.atomic import atomic_file, output_error
from grove.codec.config import Frozen
from grove.codec.errors import AudioError
from grove.codec.resample import MAX_RATE_HZ, MIN_RATE_HZ
from grove.codec.sound.bytestream import shown_name, shown_path
from grove.codec.sound.pcm import SAMPLE_BYTES, OutputEncoding, encode_pcm, quantize_s16
from grove.codec.sound.wav import check_riff_bytes, wav_header

_OPUS_RATES_HZ: Final = (8_000, 12_000, 16_000, 24_000, 48_000)
_MAX_CHANNELS: Final = 8
# libsndfile keeps a Vorbis block on the stack: blocks of a second or so make it overflow.
_SNDFILE_BLOCK_SAMPLES: Final = 4_096
_FLAC_HEADER_BYTES: Final = 42
_FLAC_TOTAL: Final = slice(21, 26)


class WavOutput(Frozen):
    """RIFF WAV of 16-bit integers or 32-bit floats."""

    kind: Literal["wav"] = "wav"
    encoding: Literal["s16le", "f32le"] = "s16le"


class FlacOutput(Frozen):
    """FLAC of 16 bits."""

    kind: Literal["flac"] = "flac"


class OggOutput(Frozen):
    """Ogg; without a codec named, Opus at the rates that it takes and Vorbis at others."""

    kind: Literal["ogg"] = "ogg"
    codec: Literal["opus", "vorbis"] | None = None


class RawOutput(Frozen):
    """Samples without a header."""

    kind: Literal["raw"] = "raw"
    encoding: OutputEncoding = "s16le"


AudioOutput = Annotated[WavOutput | FlacOutput | OggOutput | RawOutput, Field(discriminator="kind")]

_OUTPUTS: Final[dict[str, AudioOutput]] = {
    ".wav": WavOutput(),
    ".flac": FlacOutput(),
    ".ogg": OggOutput(),
    ".oga": OggOutput(),
    ".opus": OggOutput(codec="opus"),
    ".raw": RawOutput(),
    ".pcm": RawOutput(),
}


def output_for(path: Path) -> AudioOutput:
    """Return what a file of this name should hold."""
    output = _OUTPUTS.get(path.suffix.lower())
    if output is None:
        raise AudioError(f"{path}: ends in {path.suffix!r}, expected {', '.join(_OUTPUTS)}")
    return output


class AudioWriter:
    """Takes blocks [n, C] of float32 in -1..1; all encodings but f32le clip beyond that."""

    def __init__(self, encoder: "_Encoder", sink: "_Sink", channels: int) -> None:
        self.channels = channels
        self.samples_written = 0
        self._encoder = encoder
        self._sink = sink

    def write(self, block: F32) -> None:
        """Append `block` [n, C]."""
        assert block.ndim == 2, f"a block of shape {block.shape}, expected [n, {self.channels}]"
        assert block.shape[1] == self.channels, f"{block.shape[1]} channels, not {self.channels}"
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            sample = self.samples_written + int(np.argmin(finite))
            raise AudioError(f"{self._sink.name}: sample {sample} is not a finite number")
        self._encoder.write(block)
        self._sink.check()
        self.samples_written += len(block)

    def finish(self) -> None:
        """Complete the file."""
        promised = self._sink.samples
        if promised is not None and promised != self.samples_written:
            raise AudioError(
                f"{self._sink.name}: got {self.samples_written} samples, its header says {promised}"
            )
        self._encoder.finish()
        self._sink.flush()
        self._sink.check()

    def abandon(self) -> None:
        """Stop without an end: a reader must not take what was written for the whole."""
        self._sink.is_open = False
        self._encoder.abandon()


@contextmanager
def open_writer(
    target: Path | BinaryIO,
    output: AudioOutput,
    sample_rate_hz: int,
    channels: int = 1,
    *,
    samples: int | None = None,
    overwrite: bool = False,
) -> Iterator[AudioWriter]:
    """Write to a path, atomically, or forwards only into a file object such as stdout.

    `samples` (per channel), where it is known beforehand, goes into the header of what cannot be
    sought; the writer then holds the caller to it.
    """
    if isinstance(target, Path):
        with atomic_file(target, overwrite) as file:
            sink = _Sink(file, shown_path(target), samples, can_seek=file.seekable())
            with _writing(sink, output, sample_rate_hz, channels) as writer:
                yield writer
    else:
        sink = _Sink(target, shown_name(target), samples, can_seek=False)
        with _writing(sink, output, sample_rate_hz, channels) as writer:
            yield writer


@contextmanager
def _writing(
    sink: "_Sink", output: AudioOutput, sample_rate_hz: int, channels: int
) -> Iterator[AudioWriter]:
    if not MIN_RATE_HZ <= sample_rate_hz <= MAX_RATE_HZ or not 1 <= channels <= _MAX_CHANNELS:
        raise AudioError(
            f"{sink.name}: {channels} channels at {sample_rate_hz} Hz, expected 1 to "
            f"{_MAX_CHANNELS} at {MIN_RATE_HZ} to {MAX_RATE_HZ}"
        )
    writer = AudioWriter(_encoder(sink, output, sample_rate_hz, channels), sink, channels)
    try:
        yield writer
        writer.finish()
    except BaseException:
        writer.abandon()
        raise


def _encoder(sink: "_Sink", output: AudioOutput, sample_rate_hz: int, channels: int) -> "_Encoder":
    match output:
        case WavOutput():
            return _PcmEncoder(sink, output, sample_rate_hz, channels)
        case RawOutput():
            return _PcmEncoder(sink, output, sample_rate_hz, channels)
        case FlacOutput():
            return _SndfileEncoder(sink, "FLAC", "PCM_16", sample_rate_hz, channels)
        case OggOutput():
            subtype = _ogg_subtype(output, sample_rate_hz, sink.name)
            return _SndfileEncoder(sink, "OGG", subtype, sample_rate_hz, channels)
        case _:
            assert_never(output)


def _ogg_subtype(output: OggOutput, sample_rate_hz: int, name: str) -> str:
    takes_opus = sample_rate_hz in _OPUS_RATES_HZ
    if output.codec == "opus" and not takes_opus:
        raise AudioError(
            f"{name}: Opus cannot hold {sample_rate_hz} Hz, "
            f"expected one of {', '.join(map(str, _OPUS_RATES_HZ))}",
            hint="choose one of these rates, or Vorbis",
        )
    return "OPUS" if takes_opus and output.codec != "vorbis" else "VORBIS"


class _PcmEncoder:
    """Plain samples, behind a WAV header or none."""

    def __init__(
        self, sink: "_Sink", output: WavOutput | RawOutput, sample_rate_hz: int, channels: int
    ) -> None:
        self._sink = sink
        self._output = output
        self._sample_rate_hz = sample_rate_hz
        self._channels = channels
        self._data_bytes = 0
        self._write_header(sink.samples)

    def write(self, block: F32) -> None:
        data = encode_pcm(block, self._output.encoding)
        self._data_bytes += len(data)
        # A pipe has no sizes in its header, and where the count was known it is an RF64 header.
        if self._sink.samples is None and self._sink.can_seek and self._output.kind == "wav":
            check_riff_bytes(self._data_bytes, self._sink.name)
        self._sink.write(data)

    def finish(self) -> None:
        if self._sink.can_seek and self._output.kind == "wav":
            frame_bytes = SAMPLE_BYTES[self._output.encoding] * self._channels
            self._sink.seek(0)
            self._write_header(self._data_bytes // frame_bytes)

    def abandon(self) -> None:
        """Nothing is held."""

    def _write_header(self, samples: int | None) -> None:
        if self._output.kind == "wav":
            self._sink.write(
                wav_header(self._output.encoding, self._sample_rate_hz, self._channels, samples)
            )


class _SndfileEncoder:
    """FLAC or Ogg, by libsndfile."""

    def __init__(
        self, sink: "_Sink", container: str, subtype: str, sample_rate_hz: int, channels: int
    ) -> None:
        self._name = sink.name
        self._is_flac = container == "FLAC"
        self._is_empty = True
        sink.patches_flac = self._is_flac and not sink.can_seek
        try:
            self._sound = soundfile.SoundFile(
                sink, "w", sample_rate_hz, channels, format=container, subtype=subtype
            )
        except soundfile.LibsndfileError as error:
            reason = str(error.error_string).strip()
            raise AudioError(f"{sink.name}: cannot be written: {reason}") from error

    def write(self, block: F32) -> None:
        self._is_empty = self._is_empty and len(block) == 0
        # Integers for FLAC: libsndfile scales floats by 32767, and what went in would not come out.
        data = quantize_s16(block) if self._is_flac else np.clip(block, -1, 1)
        for start in range(0, len(data), _SNDFILE_BLOCK_SAMPLES):
            self._sound.write(np.ascontiguousarray(data[start : start + _SNDFILE_BLOCK_SAMPLES]))

    def finish(self) -> None:
        if self._is_empty:
            # libsndfile would leave a file that nobody can open.
            raise AudioError(
                f"{self._name}: got zero samples, expected at least one for FLAC or Ogg"
            )
        self._sound.close()

    def abandon(self) -> None:
        self._sound.close()


_Encoder = _PcmEncoder | _SndfileEncoder


class _Sink:
    """Where the bytes go, for us and for libsndfile; its errors wait, as C cannot raise them."""

    def __init__(self, file: BinaryIO, name: str, samples: int | None, can_seek: bool) -> None:
        self.name = name
        self.samples = samples
        self.can_seek = can_seek
        self.is_open = True
        self.patches_flac = False
        self._file = file
        self._position = 0
        self._size = 0
        self._flac_head = b""
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        if self.is_open:
            # libsndfile goes back to complete its headers; what has left for a pipe stays as it is.
            left = 0 if self.can_seek else self._size - self._position
            self._position += len(data)
            self._size = max(self._size, self._position)
            self._put(self._patched(data[left:]) if self.patches_flac else data[left:])
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = min(max(0, base + offset), self._size)
        if self.can_seek and self.is_open:
            self._file.seek(self._position)
        return self._position

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        with self._errors_kept():
            self._file.flush()

    def check(self) -> None:
        if self._error is not None:
            raise output_error(self.name, self._error) from self._error

    def _put(self, data: bytes) -> None:
        with self._errors_kept():
            while data:
                # An unbuffered file may take less than all.
                written = self._file.write(data)
                if not written:
                    raise BlockingIOError(errno.EAGAIN, "it takes no bytes at the moment")
                data = data[written:]

    @contextmanager
    def _errors_kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._error = error
            self.is_open = False

    def _patched(self, data: bytes) -> bytes:
        """Put the count of samples into a FLAC header that cannot be gone back to."""
        self._flac_head += data
        if len(self._flac_head) < _FLAC_HEADER_BYTES:
            return b""
        self.patches_flac = False
        head = bytearray(self._flac_head)
        if self.samples is not None:
            total = int.from_bytes(head[_FLAC_TOTAL], "big") | self.samples
            head[_FLAC_TOTAL] = total.to_bytes(5, "big")
        return bytes(head)
