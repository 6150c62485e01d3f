"""Raw audio to padded batches, as transformers' feature extractors do it; without torch."""

from __future__ import annotations

import json
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
Side: TypeAlias = Literal["left", "right"]

_SAVED = "preprocessor_config.json"
_NAMES = ("sampling_rate", "feature_size", "padding_value", "padding_side")


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

    def __init__(
        self,
        sampling_rate: int,
        feature_size: int = 1,
        padding_value: float = 0.0,
        padding_side: Side = "right",
    ) -> None:
        if feature_size != 1:
            raise UnsupportedError(
                f"feature_size is {feature_size}, expected 1", hint="mix down to one channel first"
            )
        if padding_side not in ("left", "right"):
            raise UnsupportedError(f"padding_side is {padding_side!r}, expected left or right")
        self.sampling_rate = sampling_rate
        self.feature_size = feature_size
        self.padding_value = padding_value
        self.padding_side = padding_side

    @classmethod
    def from_pretrained(
        cls, path_or_name: str | Path | None = None, *, padding_side: Side = "right"
    ) -> Self:
        """Load what `save_pretrained` wrote to a folder, or what suits a bundle."""
        saved = Path(path_or_name or "") / _SAVED
        if saved.is_file():
            kept = json.loads(saved.read_text(encoding="utf-8"))
            return cls(**{name: kept[name] for name in _NAMES if name in kept})
        return cls(load_bundle(path_or_name).spec.sample_rate_hz, padding_side=padding_side)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `preprocessor_config.json`, which transformers' own extractors read too."""
        values = {name: getattr(self, name) for name in _NAMES}
        kind = {"feature_extractor_type": "EncodecFeatureExtractor"}
        Path(folder).mkdir(parents=True, exist_ok=True)
        text = json.dumps({**kind, **values}, indent=2)
        (Path(folder) / _SAVED).write_text(text + "\n", encoding="utf-8")

    def __call__(  # noqa: PLR0917 - transformers' order
        self,
        raw_audio: RawAudio,
        padding: bool | Literal["longest", "max_length", "do_not_pad"] | None = None,
        truncation: bool = False,
        max_length: int | None = None,
        return_tensors: Literal["np", "pt"] | None = None,
        sampling_rate: int | None = None,
    ) -> BatchFeature:
        """Return one clip, or a list of clips, as a batch."""
        if sampling_rate is not None and sampling_rate != self.sampling_rate:
            raise UnsupportedError(
                f"sampling_rate is {sampling_rate}, expected {self.sampling_rate}",
                hint="resample first, or give sampling_rate to encode",
            )
        if padding and truncation:
            raise UnsupportedError("padding and truncation are both set, expected one of them")
        if max_length is None and (truncation or padding == "max_length"):
            raise UnsupportedError("max_length is not given, truncation and padding to it need it")
        clips = [_clip(clip)[: max_length if truncation else None] for clip in _as_list(raw_audio)]
        longest = max(map(len, clips))
        if padding in (False, "do_not_pad") and any(len(clip) != longest for clip in clips):
            raise ShapeError("the clips differ in length, expected padding=True")
        width = max(longest, max_length or 0) if padding == "max_length" else longest
        values, mask = self._padded(clips, width)
        return BatchFeature(
            input_values=_as_kind(values, return_tensors),
            padding_mask=_as_kind(mask, return_tensors),
        )

    def _padded(
        self, clips: list[NDArray[np.float32]], width: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        values = np.full((len(clips), 1, width), self.padding_value, np.float32)
        mask = np.zeros((len(clips), width), np.int64)
        for index, clip in enumerate(clips):
            start = width - len(clip) if self.padding_side == "left" else 0
            values[index, 0, start : start + len(clip)] = clip
            mask[index, start : start + len(clip)] = 1
        return values, mask


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
