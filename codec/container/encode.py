"""Whole audio through the encoder, block by block: into a container, or on to a decoder."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from grove.codec.arrays import F32, U16
from grove.codec.container.header import ContainerHeader
from grove.codec.container.writer import ByteSink, ContainerWriter
from grove.codec.errors import AudioError
from grove.codec.runtime import Codec
from grove.codec.stream import EncodeStream, check_levels


class BlockSource(Protocol):
    """What an encoder needs to know of audio before its first block; `AudioSource` is one."""

    name: str
    sample_rate_hz: int
    channels: int


class Length(NamedTuple):
    """How much audio went through."""

    frames: int
    samples: int
    """At the codec's rate."""
    source_samples: int
    """At the source's rate."""


class AudioEncoder:
    """One source of audio to frames of codes: down-mixed, or left and right as two streams."""

    def __init__(self, codec: Codec, source: BlockSource, *, stereo: bool = False) -> None:
        self.codec = codec
        self.streams = _stream_count(source, stereo)
        self._stream = EncodeStream(codec, source.sample_rate_hz, self.streams)

    @property
    def length(self) -> Length:
        """What went through so far; complete after `finish`."""
        return Length(self._stream.frames, self._stream.samples, self._stream.samples_in)

    def push(self, block: F32) -> U16:
        """Return the frames of codes [streams, T, K] that `block` [n, channels] completes."""
        return self._stream.push(block)

    def finish(self) -> U16:
        """Return the last frames of codes [streams, T, K]."""
        return self._stream.finish()


def encode_audio(
    encoder: AudioEncoder,
    source: BlockSource,
    blocks: Iterable[F32],
    out: ByteSink,
    levels: int,
) -> Length:
    """Write a finished container of `levels` levels; `blocks` are the audio of `source`."""
    check_levels(encoder.codec.spec, levels)
    header = ContainerHeader(
        codec=encoder.codec.spec,
        channels=2 if encoder.streams == 2 else 1,
        source_sample_rate_hz=source.sample_rate_hz,
        source_channels=source.channels,
    )
    writer = ContainerWriter(out, header)
    for block in blocks:
        writer.write(encoder.push(block), levels)
    writer.write(encoder.finish(), levels)
    writer.close(encoder.length.samples, encoder.length.source_samples)
    return encoder.length


def _stream_count(source: BlockSource, stereo: bool) -> int:
    if not stereo or source.channels == 1:
        return 1
    if source.channels != 2:
        raise AudioError(
            f"{source.name}: has {source.channels} channels, expected 1 or 2 to code as stereo",
            hint="leave out --stereo to mix them down",
        )
    return 2
