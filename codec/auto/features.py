"""Raw audio to padded batches, as transformers' feature extractors do it; without torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from grove.codec.auto.arrays import Array, ShapeError, Values, as_numpy
from grove.codec.auto.model import UnsupportedError
from grove.codec.bundle import load_bundle

RawAudio: TypeAlias = "Values | Sequence[Values]"


class BatchFeature(dict[str, Any]):
    """A dict whose entries are attributes too."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a dict's entry
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def to(self, device: object) -> Self:
        """Move torch's tensors; arrays of numpy stay."""
        for key, value in self.items():
            if hasattr(value, "to"):
                self[key] = value.to(device)
        return self


class AutoFeatureExtractor:
    """Pads clips [n] to input_values [B, 1, N] and padding_mask [B, N]."""

    def __init__(self, sampling_rate: int) -> None:
        self.sampling_rate = sampling_rate

    @classmethod
    def from_pretrained(cls, path_or_name: str | Path | None = None) -> Self:
        return cls(load_bundle(path_or_name).spec.sample_rate_hz)

    def __call__(
        self,
        raw_audio: RawAudio,
        sampling_rate: int | None = None,
        padding: bool | Literal["longest"] = True,
        return_tensors: Literal["np", "pt"] | None = None,
    ) -> BatchFeature:
        """Return one clip, or a list of clips, as a batch."""
        if sampling_rate is not None and sampling_rate != self.sampling_rate:
            raise UnsupportedError(
                f"sampling_rate is {sampling_rate}, expected {self.sampling_rate}",
                hint="resample first, or give sampling_rate to encode",
            )
        clips = [_clip(clip) for clip in _as_list(raw_audio)]
        longest = max(map(len, clips))
        if not padding and any(len(clip) != longest for clip in clips):
            raise ShapeError("the clips differ in length, expected padding=True")
        values = np.zeros((len(clips), 1, longest), np.float32)
        mask = np.zeros((len(clips), longest), np.int64)
        for index, clip in enumerate(clips):
            values[index, 0, : len(clip)] = clip
            mask[index, : len(clip)] = 1
        return BatchFeature(
            input_values=_as_kind(values, return_tensors),
            padding_mask=_as_kind(mask, return_tensors),
        )


AutoProcessor = AutoFeatureExtractor


def _as_list(raw_audio: RawAudio) -> Sequence[Values]:
    if isinstance(raw_audio, list | tuple) and len(raw_audio) and np.ndim(raw_audio[0]) > 0:
        return raw_audio
    return [cast(Values, raw_audio)]


def _clip(raw: Values) -> NDArray[np.float32]:
    clip = as_numpy(raw).astype(np.float32)
    if clip.ndim != 1:
        raise ShapeError(f"a clip has the shape {clip.shape}, expected [n]")
    return clip


def _as_kind(array: NDArray[Any], kind: Literal["np", "pt"] | None) -> Array:
    if kind != "pt":
        return array
    if "torch" not in sys.modules:
        raise UnsupportedError("return_tensors is 'pt', but torch is not loaded")
    tensor: Array = sys.modules["torch"].from_numpy(array)
    return tensor
