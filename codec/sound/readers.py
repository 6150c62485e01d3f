"""Blocks of samples out of bytes: plain PCM by ourselves, the rest through libsndfile."""

import os
from typing import BinaryIO, Final, Literal

import numpy as np
import soundfile

from grove.codec.arrays import F32
from grove.codec.errors import AudioError
from grove.codec.sound.aiff import read_aiff_header
from grove.codec.sound.bytestream import ByteStream
from grove.codec.sound.media import MediaReader
from grove.codec.sound.mp3 import id3_bytes, scan_mp3
from grove.codec.sound.ogg import check_ogg_codec, find_links, is_ogg_complete
from grove.codec.sound.pcm import PcmFormat, decode_pcm
from grove.codec.sound.sniff import SNIFF_BYTES, AudioContainer

Container = AudioContainer | Literal["raw"]

BLOCK_SAMPLES: Final = 65_536
# Each keeps a decoder open; nobody joins so many recordings by hand.
_MAX_LINKS: Final = 1000
_UNKNOWN_SAMPLES: Final = 2**62
_INTEGER_SUBTYPES: Final = frozenset(
    ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "ULAW", "ALAW")
)
_FLOAT_SUBTYPES: Final = frozenset(("FLOAT", "DOUBLE", "VORBIS", "OPUS", "MPEG_LAYER_III"))


class PcmReader:
    """Samples as they stand in a WAV or raw file; `data_bytes` None means up to the end."""

    def __init__(
        self, container: Container, stream: ByteStream, pcm: PcmFormat, data_bytes: int | None
    ) -> None:
        self.container = container
        self.sample_rate_hz = pcm.sample_rate_hz
        self.channels = pcm.channels
        self.is_float = pcm.encoding in ("f32le", "f64le")
        self._stream = stream
        self._encoding = pcm.encoding
        self._frame_bytes = pcm.frame_bytes
        self._samples_read = 0
        self.declared_samples = None if data_bytes is None else data_bytes // self._frame_bytes
        self.shortfall = self._missing_at_start()

    def read(self) -> F32:
        """Return the next block [n, C]; n is 0 at the end."""
        data = self._take()
        samples, rest_bytes = divmod(len(data), self._frame_bytes)
        self._samples_read += samples
        if self.declared_samples is None:
            if rest_bytes:
                self.shortfall = f"ends {rest_bytes} bytes into sample {self._samples_read}"
        elif samples == 0 and self._samples_read < self.declared_samples:
            self.shortfall = _short(self.declared_samples, self._samples_read)
        whole = memoryview(data)[: len(data) - rest_bytes]
        return decode_pcm(whole, self._encoding).reshape(-1, self.channels)

    def _take(self) -> bytes:
        """Return the bytes of one block: whole samples, except where the stream ends."""
        want = BLOCK_SAMPLES
        if self.declared_samples is not None:
            want = min(want, self.declared_samples - self._samples_read)
        if want == 0:
            return b""
        data = self._stream.take_some(want * self._frame_bytes)
        # A pipe may cut a sample in two: wait for the rest of it.
        return data + self._stream.take(-len(data) % self._frame_bytes)

    def _missing_at_start(self) -> str | None:
        """Tell from the file's size, where it has one, what the end will lack."""
        if self.declared_samples is None or self._stream.size_bytes is None:
            return None
        there = (self._stream.size_bytes - self._stream.position) // self._frame_bytes
        return _short(self.declared_samples, there) if there < self.declared_samples else None


class SndfileReader:
    """Samples that libsndfile decodes, block by block, from a seekable file."""

    def __init__(self, container: Container, file: "OffsetFile", name: str) -> None:
        self.container = container
        self._name = name
        self._file = file
        self._sound = _open_sound(file, name)
        self.sample_rate_hz: int = self._sound.samplerate
        self.channels: int = self._sound.channels
        self.is_float = self._sound.subtype in _FLOAT_SUBTYPES
        self.shortfall: str | None = None
        self._samples_read = 0
        self._ended = False
        declared: int = self._sound.frames
        self.declared_samples = declared if declared < _UNKNOWN_SAMPLES else None

    def read(self) -> F32:
        """Return the next block [n, C]; n is 0 at the end."""
        if self._ended:
            return np.empty((0, self.channels), np.float32)
        block = np.empty((BLOCK_SAMPLES, self.channels), np.float32)
        try:
            samples = len(self._sound.read(out=block))
        except soundfile.LibsndfileError as error:
            self._ended = True
            samples = self._sound.tell() - self._samples_read
            self.shortfall = f"stops at sample {self._samples_read + samples}: {_reason(error)}"
        if self._file.error is not None:
            raise AudioError(f"{self._name}: cannot be read: {self._file.error.strerror}")
        self._samples_read += samples
        if samples == 0 and self._samples_read < (self.declared_samples or 0):
            self.shortfall = self.shortfall or _short(self.declared_samples, self._samples_read)
        return block[:samples]

    def close(self) -> None:
        self._sound.close()


class ChainReader:
    """Ogg files joined end to end (a radio stream, several recordings): libsndfile reads one."""

    def __init__(self, links: list[SndfileReader], name: str) -> None:
        first = links[0]
        self.container: Container = first.container
        self.sample_rate_hz = first.sample_rate_hz
        self.channels = first.channels
        self.is_float = True
        self.shortfall: str | None = None
        counts = [link.declared_samples for link in links]
        self.declared_samples = None if None in counts else sum(count or 0 for count in counts)
        self._links = links
        self._place = 0
        for number, link in enumerate(links):
            if (link.sample_rate_hz, link.channels) != (self.sample_rate_hz, self.channels):
                raise AudioError(
                    f"{name}: link {number + 1} of {len(links)} has {link.channels} channels at "
                    f"{link.sample_rate_hz} Hz, the first {self.channels} at {self.sample_rate_hz}",
                    hint="convert it first, for example with `ffmpeg -i in.ogg out.wav`",
                )

    def read(self) -> F32:
        """Return the next block [n, C]; n is 0 at the end."""
        while True:
            link = self._links[self._place]
            block = link.read()
            self.shortfall = self.shortfall or link.shortfall
            if len(block) or self._place == len(self._links) - 1:
                return block
            self._place += 1

    def close(self) -> None:
        for link in self._links:
            link.close()


BlockReader = PcmReader | SndfileReader | ChainReader | MediaReader


def open_decoder(
    container: AudioContainer, file: BinaryIO, name: str, size_bytes: int
) -> SndfileReader | ChainReader | MediaReader:
    """Look at a seekable file's own claims first, then hand it to libsndfile, or to FFmpeg."""
    match container:
        case "mp4" | "webm":
            return MediaReader(container, file, name)
        case "ogg":
            check_ogg_codec(file.read(SNIFF_BYTES), name)
            return _open_ogg(file, name, size_bytes)
        case "aiff":
            header = read_aiff_header(file, name, size_bytes)
            reader = SndfileReader(container, OffsetFile(file), name)
            reader.declared_samples = header.samples
            if header.missing_bytes:
                reader.shortfall = f"lacks the last {header.missing_bytes} bytes of its samples"
        case "mp3":
            tag_bytes = id3_bytes(file)
            file.seek(tag_bytes)
            if file.read(4) == b"fLaC":
                return SndfileReader("flac", OffsetFile(file, start=tag_bytes), name)
            reader = _open_mp3(file, tag_bytes, name, size_bytes)
        case _:
            reader = SndfileReader(container, OffsetFile(file), name)
    return reader


def _open_ogg(file: BinaryIO, name: str, size_bytes: int) -> SndfileReader | ChainReader:
    starts = find_links(file, size_bytes)
    if len(starts) > _MAX_LINKS:
        raise AudioError(f"{name}: has {len(starts)} links, expected at most {_MAX_LINKS}")
    ends = [*starts[1:], size_bytes]
    links = [
        SndfileReader("ogg", OffsetFile(file, start=start, end=end), name)
        for start, end in zip(starts or [0], ends, strict=True)
    ]
    reader = links[0] if len(links) == 1 else ChainReader(links, name)
    if not is_ogg_complete(file, size_bytes):
        reader.shortfall = "its last page is missing or cut"
    return reader


def _open_mp3(file: BinaryIO, tag_bytes: int, name: str, size_bytes: int) -> SndfileReader:
    scan = scan_mp3(file, tag_bytes, name, size_bytes)
    declared = scan.declared_frames
    prefix = scan.made_index() if declared is None else b""
    reader = SndfileReader("mp3", OffsetFile(file, prefix, scan.start), name)
    # Encoders do not agree on whether the index counts itself.
    if declared is not None and scan.frames > declared + 1:
        raise AudioError(
            f"{name}: is several MP3 files in one: the index of the first declares {declared} "
            f"frames, there are {scan.frames}",
            hint="convert it first, for example with `ffmpeg -i in.mp3 out.wav`",
        )
    if declared is not None and abs(declared - scan.frames) > 1:
        reader.shortfall = f"its index declares {declared} MP3 frames, the file holds {scan.frames}"
    elif scan.is_cut:
        reader.shortfall = f"its last MP3 frame, number {scan.frames + 1}, is cut"
    return reader


class OffsetFile:
    """A file as libsndfile sees it: from `start` on, behind a `prefix`, and without a name.

    The name stays hidden because soundfile would let its ending decide what the content is, and
    errors are kept because nothing can be raised through C.
    """

    def __init__(
        self, file: BinaryIO, prefix: bytes = b"", start: int = 0, end: int | None = None
    ) -> None:
        self.error: OSError | None = None
        self._file = file
        self._prefix = prefix
        self._shift = start - len(prefix)
        self._size = (file.seek(0, os.SEEK_END) if end is None else end) - self._shift
        self._position = 0

    def read(self, count: int) -> bytes:
        count = min(count, self._size - self._position)
        data = self._prefix[self._position : self._position + count]
        if len(data) < count:
            try:
                self._file.seek(self._position + len(data) + self._shift)
                data += self._file.read(count - len(data))
            except OSError as error:
                self.error = error
                return b""
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = min(max(0, base + offset), self._size)
        return self._position

    def tell(self) -> int:
        return self._position


class _ForwardSoundFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A sound file that is never sought: soundfile seeks after every block, and MP3 then differs
    from what one read of the whole file gives."""

    def seekable(self) -> bool:
        return False


def _open_sound(file: OffsetFile, name: str) -> _ForwardSoundFile:
    try:
        sound = _ForwardSoundFile(file)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{name}: is damaged: {_reason(error)}") from error
    if sound.subtype not in _INTEGER_SUBTYPES | _FLOAT_SUBTYPES:
        sound.close()
        raise AudioError(
            f"{name}: holds {sound.subtype}, expected plain samples, FLAC, Opus, Vorbis or MP3"
        )
    return sound


def _reason(error: soundfile.LibsndfileError) -> str:
    return str(error.error_string).removeprefix("Error : ").rstrip(". \n")


def _short(declared_samples: int | None, samples: int) -> str:
    return f"declares {declared_samples} samples, holds {samples}"
