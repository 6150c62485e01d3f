"""What browsers and telephones record (WebM, MP4/M4A), by PyAV: the extra `media`."""

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np

from grove.codec.arrays import F32
from grove.codec.errors import AudioError
from grove.codec.sound.sniff import MediaContainer

if TYPE_CHECKING:
    from av.audio.codeccontext import AudioCodecContext
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

BLOCK_SAMPLES: Final = 65_536
_FORMATS: Final[dict[MediaContainer, str]] = {"mp4": "mp4", "webm": "matroska"}
_FORMAT_NAMES: Final = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm"
# All other decoders of FFmpeg, video above all, stay out of a stranger's reach.
_CODECS: Final = ("aac", "alac", "flac", "mp3", "opus", "pcm_f32le", "pcm_s16le", "vorbis")
_DECODERS: Final = (*_CODECS, "libopus", "libvorbis", "mp3float")
# PyAV counts a frame's planes up to an empty place, of which there is none from eight on: it would
# go on into foreign memory.
_MOST_CHANNELS: Final = 7
# An encoder fills its last frame up; the largest frames are ALAC's and HE-AAC's.
_MOST_FILLING_SAMPLES: Final = 4_096
# Encoders round what they declare to a millisecond or to their frames, of 2048 samples at most.
_LENGTH_SLACK_SECONDS: Final = 0.1


class MediaReader:
    """Samples of the first audio stream, which FFmpeg decodes; pictures are passed over."""

    def __init__(self, container: MediaContainer, file: BinaryIO, name: str) -> None:
        self.container = container
        self._name = name
        self._container = _opened(container, file, name)
        self.shortfall: str | None = None
        try:
            self._stream = self._chosen_stream()
            declared = self._declared_seconds()
            # WebM says how much to leave out itself, and its length only to the millisecond.
            exact = declared if container == "mp4" else None
            self._pieces = self._trimmed(self._decoded(), exact)
            # The head may name another rate than the decoder finds, or none.
            self._ahead = next(self._pieces, None)
        except BaseException:
            self._container.close()
            raise
        if self._ahead is None:
            self._container.close()
            raise AudioError(f"{name}: {self.shortfall or 'holds no audio that can be decoded'}")
        self.sample_rate_hz, first = self._ahead
        self.channels = first.shape[1]
        self.is_float = self._stream.codec_context.format.name.startswith(("flt", "dbl"))
        self.declared_samples = None if declared is None else round(declared * self.sample_rate_hz)
        self._samples_read = 0

    def read(self) -> F32:
        """Return the next block [n, C]; n is 0 at the end."""
        parts: list[F32] = []
        samples = 0
        while samples < BLOCK_SAMPLES and self._ahead is not None:
            parts.append(self._checked(*self._ahead))
            samples += len(parts[-1])
            self._ahead = next(self._pieces, None)
        if not parts:
            return np.empty((0, self.channels), np.float32)
        self._samples_read += samples
        return np.concatenate(parts)

    def close(self) -> None:
        self._container.close()

    def _chosen_stream(self) -> "AudioStream":
        streams = self._container.streams.audio
        if not streams:
            raise AudioError(f"{self._name}: has no audio in it")
        stream = streams[0]
        # None where FFmpeg has no decoder; its types do not say so.
        context: AudioCodecContext | None = stream.codec_context
        codec = context.codec.canonical_name if context else "an unknown codec"
        if codec not in _CODECS:
            raise AudioError(f"{self._name}: holds {codec}, expected {', '.join(_CODECS)}")
        stream.codec_context.thread_count = 1
        return stream

    def _declared_seconds(self) -> float | None:
        """Return what the file says of its length; live recordings say nothing."""
        stream = self._stream
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        # Of WebM, where the recorder came back to fill it in.
        total = self._container.duration
        return None if total is None else total / 1_000_000

    def _decoded(self) -> Iterator[tuple[int, F32]]:
        """Yield rate and samples of each decoded frame; say at the end what is missing."""
        from av.error import FFmpegError  # noqa: PLC0415 - the extra

        seconds = 0.0
        try:
            for packet in self._container.demux(self._stream):
                if packet.is_corrupt:
                    self.shortfall = f"is cut or damaged at {seconds:.2f} s"
                for frame in packet.decode():
                    self._check_channels(frame.layout.nb_channels)
                    seconds += frame.samples / frame.sample_rate
                    yield frame.sample_rate, _samples_of(frame)
        except (FFmpegError, OSError) as error:
            self.shortfall = f"stops at {seconds:.2f} s: {error.strerror or error}"
        declared = self._declared_seconds()
        if declared is not None and seconds < declared - _LENGTH_SLACK_SECONDS:
            self.shortfall = self.shortfall or f"declares {declared:.2f} s, holds {seconds:.2f} s"

    def _trimmed(
        self, pieces: Iterator[tuple[int, F32]], declared_seconds: float | None
    ) -> Iterator[tuple[int, F32]]:
        """Leave out what fills the last frame up, where the file tells how long it is."""
        if declared_seconds is None:
            yield from pieces
            return
        held: deque[tuple[int, F32]] = deque()
        samples = held_samples = 0
        for rate_hz, block in pieces:
            held.append((rate_hz, block))
            samples, held_samples = samples + len(block), held_samples + len(block)
            while held_samples - len(held[0][1]) >= _MOST_FILLING_SAMPLES:
                held_samples -= len(held[0][1])
                yield held.popleft()
        filling = samples - round(declared_seconds * held[-1][0]) if held else 0
        wanted = held_samples - (filling if 0 < filling <= _MOST_FILLING_SAMPLES else 0)
        for rate_hz, block in held:
            if wanted > 0:
                yield rate_hz, block[:wanted]
            wanted -= len(block)

    def _check_channels(self, channels: int) -> None:
        if not 1 <= channels <= _MOST_CHANNELS:
            raise AudioError(
                f"{self._name}: has {channels} channels, expected 1 to {_MOST_CHANNELS} in "
                f"{self.container}"
            )

    def _checked(self, rate_hz: int, block: F32) -> F32:
        if (rate_hz, block.shape[1]) != (self.sample_rate_hz, self.channels):
            raise AudioError(
                f"{self._name}: changes to {block.shape[1]} channels at {rate_hz} Hz, "
                f"it began with {self.channels} at {self.sample_rate_hz}"
            )
        return block


def _opened(container: MediaContainer, file: BinaryIO, name: str) -> "InputContainer":
    import av  # noqa: PLC0415 - the extra

    options = {"codec_whitelist": ",".join(_DECODERS), "format_whitelist": _FORMAT_NAMES}
    try:
        return av.open(
            file,
            mode="r",
            format=_FORMATS[container],
            container_options=options,
            metadata_errors="replace",
            io_open=_no_other_file,
        )
    except (av.error.FFmpegError, ValueError) as error:
        raise AudioError(f"{name}: is damaged: {error}") from error


def _no_other_file(url: str, flags: int, options: object) -> BinaryIO:  # noqa: ARG001 - its form
    """Refuse what the file may name: it could be any file of this machine, or any host."""
    raise PermissionError(f"a file that names {url[:80]!r}")


def _samples_of(frame: "AudioFrame") -> F32:
    """Return [n, C] with full scale at 1."""
    data = frame.to_ndarray()
    channels = frame.layout.nb_channels
    planes = data.T if frame.format.is_planar else data.reshape(-1, channels)
    if np.issubdtype(planes.dtype, np.integer):
        full_scale = np.float32(2 ** (8 * planes.dtype.itemsize - 1))
        return np.asarray(planes, np.float32) / full_scale
    return np.ascontiguousarray(planes, np.float32)
