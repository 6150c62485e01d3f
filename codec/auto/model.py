"""The codec as training scripts know it: shaped like transformers' codec models, without torch.

Tokens do not depend on padding or batch mates, so a batch is only a way to go faster.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from grove.codec.arrays import F32, I64, U16
from grove.codec.auto.arrays import (
    Array,
    ShapeError,
    Values,
    as_codes,
    as_lengths,
    as_numpy,
    as_signals,
    like,
)
from grove.codec.auto.odd_books import level_of, neutral_codes
from grove.codec.auto.outputs import (
    AutoConfig,
    CodecOutput,
    DecoderOutput,
    EncoderOutput,
    config_of,
)
from grove.codec.auto.ragged import decode_ragged, encode_ragged
from grove.codec.bundle import load_bundle
from grove.codec.errors import CodecError
from grove.codec.resample import resample
from grove.codec.runtime import Codec
from grove.codec.stream import DecodeStream, EncodeStream, check_levels

_CHECKED_SAMPLES = 1 << 20
_HERE = ("cpu", "torch.float32", "auto", "None")


class UnsupportedError(CodecError, ValueError):
    """Something that the other codecs have and this one does not."""


class AutoCodec:
    """A codec behind the interface of transformers' MimiModel and DacModel."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec

    @classmethod
    def from_pretrained(
        cls,
        path_or_name: str | Path | None = None,
        threads: int = 1,
        *,
        dtype: object = None,
        torch_dtype: object = None,
        device_map: object = None,
    ) -> Self:
        """Load a bundle by folder or by name; the newest default if none is given."""
        model = cls(Codec(load_bundle(path_or_name), threads))
        return model.to(dtype).to(torch_dtype).to(device_map)

    @cached_property
    def config(self) -> AutoConfig:
        return config_of(self.codec.spec)

    def encode(
        self,
        input_values: Values,
        sampling_rate: int | Values | None = None,
        padding_mask: Values | None = None,
        levels: int | None = None,
        *,
        num_quantizers: int | None = None,
    ) -> EncoderOutput:
        """Return codes for audio [B, 1, N], [B, N] or [N]; all levels if none are given.

        Mimi takes the mask and the number of books as its second and third argument: an array
        in the place of `sampling_rate` is read so.
        """
        if sampling_rate is not None and not isinstance(sampling_rate, int | np.integer):
            mask, count = sampling_rate, padding_mask
            rows, valid = self._encoded(input_values, None, mask)
            books = self._books(levels, num_quantizers if count is None else _count(count))
        else:
            rows, valid = self._encoded(
                input_values, None if sampling_rate is None else int(sampling_rate), padding_mask
            )
            books = self._books(levels, num_quantizers)
        return EncoderOutput(like(input_values, rows[:, :books]), like(input_values, valid))

    def decode(
        self,
        audio_codes: Values,
        padding_mask: Values | None = None,
        *,
        audio_codes_mask: Values | None = None,
    ) -> DecoderOutput:
        """Return audio [B, 1, N] for codes [B, K, T]; N is the mask's, where one is given."""
        return DecoderOutput(
            like(audio_codes, self._decoded(audio_codes, padding_mask, audio_codes_mask))
        )

    def __call__(
        self,
        input_values: Values,
        padding_mask: Values | None = None,
        num_quantizers: int | None = None,
    ) -> CodecOutput:
        """Encode and decode."""
        coded = self.encode(input_values, None, padding_mask, num_quantizers=num_quantizers)
        mask = np.ones(as_signals(input_values).shape, bool)
        made = self.decode(coded.audio_codes, mask if padding_mask is None else padding_mask)
        return CodecOutput(coded.audio_codes, made.audio_values)

    def streaming(
        self, sampling_rate: int | None = None, levels: int | None = None
    ) -> StreamingSession:
        """Return one stream: chunks of audio to codes and codes to audio, as they come."""
        return StreamingSession(self, sampling_rate, levels)

    @property
    def device(self) -> object:
        """Where the codec runs: the CPU, as torch names it where torch is loaded."""
        torch = sys.modules.get("torch")
        return "cpu" if torch is None else torch.device("cpu")

    @property
    def dtype(self) -> object:
        """What the codec computes in: float32."""
        torch = sys.modules.get("torch")
        return np.dtype(np.float32) if torch is None else torch.float32

    def to(self, device: object = "cpu") -> Self:
        """Stay where we are, and in float32: the codec runs on the CPU."""
        name = str(device)
        if name not in _HERE:
            kind = "dtype" if name.startswith("torch.") else "device"
            raise UnsupportedError(
                f"{kind} is {name}, expected cpu and torch.float32",
                hint="tensors of other devices and kinds are accepted",
            )
        return self

    def cpu(self) -> Self:
        return self

    def float(self) -> Self:
        return self

    def eval(self) -> Self:
        """Do nothing: an exported codec does not train."""
        return self

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation; refuse to train."""
        if mode:
            raise UnsupportedError(
                "an exported codec does not train", hint="train one with grove train"
            )
        return self

    def parameters(self) -> Iterator[Array]:
        """Yield nothing: the weights lie in the bundle's graphs, and none has a gradient."""
        return iter(())

    def half(self) -> Self:
        raise UnsupportedError("the codec computes in float32 only, or its codes would differ")

    def save_pretrained(self, folder: str | Path) -> None:
        """Copy the bundle to a folder that `from_pretrained` takes."""
        shutil.copytree(self.codec.bundle.path, folder, dirs_exist_ok=True)

    def _encoded(
        self, input_values: Values, rate_hz: int | None, mask: Values | None
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return codes [B, K, T] of all books, and a mask [B, T]."""
        audio = as_signals(input_values)
        signals = [
            _at_rate(row[part], rate_hz, self.codec.spec.sample_rate_hz)
            for row, part in zip(audio, as_lengths(mask, audio.shape), strict=True)
        ]
        _refuse_non_numbers(signals)
        rows = encode_ragged(self.codec, signals)
        longest = max(map(len, rows), default=0)
        codes = np.zeros((len(rows), len(self.codec.spec.code_sizes), longest), np.int64)
        valid = np.zeros((len(rows), longest), np.bool_)
        for index, row in enumerate(rows):
            codes[index, :, : len(row)] = row.T
            valid[index, : len(row)] = True
        return codes, valid

    def _decoded(
        self, audio_codes: Values, mask: Values | None, codes_mask: Values | None
    ) -> NDArray[np.float32]:
        codes = as_codes(audio_codes)
        frames, level = self._frames(codes)
        own = as_lengths(codes_mask, (len(codes), codes.shape[2]))
        rows: list[U16] = [row[part] for row, part in zip(frames, own, strict=True)]
        levels: list[I64] = [np.full(len(row), level, np.int64) for row in rows]
        pcm = decode_ragged(self.codec, rows, levels)
        samples = max(map(len, pcm), default=0) if mask is None else as_numpy(mask).shape[-1]
        places = as_lengths(mask, (len(pcm), samples))
        audio = np.zeros((len(pcm), 1, samples), np.float32)
        for index, (row, place) in enumerate(zip(pcm, places, strict=True)):
            # Where the mask has padding is silence, and a row padded in front stays in its place.
            kept = row[: place.stop - place.start]
            audio[index, 0, place.start : place.start + len(kept)] = kept
        return audio

    def _books(self, levels: int | None, num_quantizers: int | None) -> int:
        """Return how many books to keep."""
        spec = self.codec.spec
        if num_quantizers is not None:
            if levels is not None:
                raise ShapeError("levels and num_quantizers are both given, expected one of them")
            self._level_of(num_quantizers)
            return num_quantizers
        if levels is not None:
            check_levels(spec, levels)
        return spec.codes_at(spec.levels if levels is None else levels)

    def _frames(self, codes: NDArray[np.int64]) -> tuple[U16, int]:
        """Return codes [B, K, T] as frames [B, T, all books] with the level that they reach."""
        spec, books = self.codec.spec, codes.shape[1]
        level = self._level_of(books)
        frames = np.zeros((len(codes), codes.shape[2], len(spec.code_sizes)), np.uint16)
        frames[:, :, :books] = codes.transpose(0, 2, 1)
        for book in range(books, spec.codes_at(level)):
            frames[:, :, book] = self._neutral_codes[book]
        return frames, level

    @cached_property
    def _neutral_codes(self) -> list[int]:
        return neutral_codes(self.codec.bundle.decoder, self.codec.spec)

    def _level_of(self, books: int) -> int:
        """Return the level that so many books reach, the last of them maybe in part."""
        total = len(self.codec.spec.code_sizes)
        if not 1 <= books <= total:
            raise ShapeError(f"got {books} books, expected 1 to {total} for {self.codec.spec.name}")
        return level_of(self.codec.spec, books)


class StreamingSession:
    """One direction or both of a stream; the tokens are those of the whole signal."""

    def __init__(self, model: AutoCodec, sampling_rate: int | None, levels: int | None) -> None:
        self._books = model._books(levels, None)
        self._model = model
        self._encoder = EncodeStream(model.codec, sampling_rate)
        self._decoder = DecodeStream(model.codec, sampling_rate)
        self._sample: Values = np.zeros(0, np.float32)
        """Of the kind that the caller works with."""

    def encode(self, chunk: Values) -> Array:
        """Return the codes [1, K, T] that a chunk of audio [n], [1, n] or [1, 1, n] completes."""
        self._sample = like(chunk, np.zeros(0, np.float32))
        return like(chunk, self._shaped(self._encoder.push(self._one(chunk))))

    def finish(self) -> Array:
        """Return the last codes [1, K, T]; the session encodes no more."""
        return like(self._sample, self._shaped(self._encoder.finish()))

    def decode(self, audio_codes: Values) -> Array:
        """Return the audio [1, 1, n] that codes [1, K, T] complete."""
        codes = as_codes(audio_codes)
        if len(codes) != 1:
            raise ShapeError(f"got {len(codes)} rows of codes, a stream has one")
        frames, level = self._model._frames(codes)
        return like(audio_codes, self._decoder.push(frames, level).T[None])

    def _shaped(self, codes: U16) -> NDArray[np.int64]:
        shaped: NDArray[np.int64] = codes[:, :, : self._books].mT.astype(np.int64)
        return shaped

    def _one(self, chunk: Values) -> F32:
        audio = as_signals(chunk)
        if len(audio) != 1:
            raise ShapeError(f"got {len(audio)} rows of audio, a stream has one")
        row: F32 = audio[0]
        return row


def _count(value: Values) -> int:
    if not isinstance(value, int | np.integer):
        raise ShapeError(
            f"the third argument is {type(value).__name__}, expected a number of books"
        )
    return int(value)


def _at_rate(signal: F32, rate_hz: int | None, codec_rate_hz: int) -> F32:
    if rate_hz is None or rate_hz == codec_rate_hz:
        return signal
    return resample(signal, int(rate_hz), codec_rate_hz)


def _refuse_non_numbers(signals: list[F32]) -> None:
    for index, signal in enumerate(signals):
        blocks = (
            signal[at : at + _CHECKED_SAMPLES] for at in range(0, len(signal), _CHECKED_SAMPLES)
        )
        if not all(np.isfinite(block).all() for block in blocks):
            raise ShapeError(f"row {index} of input_values holds what is not a number")
