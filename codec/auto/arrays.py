"""Arrays that callers bring: numpy, lists, or tensors where torch is loaded; we never load it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from grove.codec.errors import CodecError

if TYPE_CHECKING:
    import torch

Array: TypeAlias = "NDArray[Any] | torch.Tensor"
Values: TypeAlias = "ArrayLike | torch.Tensor"


class ShapeError(CodecError, ValueError):
    """An array of a shape or kind that means nothing here."""


def is_torch(values: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(values, torch.Tensor)


def as_numpy(values: Values) -> NDArray[Any]:
    """Return `values` as numpy sees them."""
    if is_torch(values):
        tensor = values.detach().cpu()  # type: ignore[union-attr]
        # numpy knows no bfloat16; as float32 it has the same values.
        array: NDArray[Any] = (
            tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor
        ).numpy()
        return array
    return np.asarray(values)


def like(values: object, array: NDArray[Any]) -> Array:
    """Return `array` as the same kind of array as `values`."""
    if is_torch(values):
        tensor: torch.Tensor = sys.modules["torch"].from_numpy(np.ascontiguousarray(array))
        return tensor
    return array


def as_signals(values: Values) -> NDArray[np.float32]:
    """Return audio [B, N] for [N], [B, N] or [B, 1, N]."""
    array = as_numpy(values)
    if not np.issubdtype(array.dtype, np.floating):
        raise ShapeError(
            f"input_values are {array.dtype}, expected float with full scale at 1",
            hint="divide 16-bit samples by 32768",
        )
    if array.ndim == 3 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2:
        raise ShapeError(
            f"input_values have the shape {array.shape}, expected [B, 1, N], [B, N] or [N]",
            hint="mix several channels down to one",
        )
    return array.astype(np.float32, copy=False)


def as_lengths(mask: Values | None, shape: tuple[int, int]) -> tuple[slice, ...]:
    """Return which samples of each row count; they must lie together."""
    if mask is None:
        return tuple(slice(0, shape[1]) for _ in range(shape[0]))
    array = as_numpy(mask).astype(bool)
    if array.ndim == 3 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 1:
        array = array[None]
    if array.shape != shape:
        raise ShapeError(f"the mask has the shape {array.shape}, expected {shape}")
    return tuple(_run(row, index) for index, row in enumerate(array))


def as_codes(values: Values) -> NDArray[np.int64]:
    """Return codes [B, K, T] for [B, K, T] or EnCodec's [1, B, K, T]."""
    array = as_numpy(values)
    if not np.issubdtype(array.dtype, np.integer):
        raise ShapeError(f"audio_codes are {array.dtype}, expected integers")
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 3:
        raise ShapeError(f"audio_codes have the shape {array.shape}, expected [B, K, T]")
    if array.size and (array.min() < 0 or array.max() > 65_535):
        raise ShapeError(
            f"audio_codes reach from {array.min()} to {array.max()}, expected 0 to 65535",
            hint="take special tokens and offsets out first",
        )
    return array.astype(np.int64)


def _run(row: NDArray[np.bool_], index: int) -> slice:
    at = np.flatnonzero(row)
    if len(at) == 0:
        return slice(0, 0)
    if at[-1] - at[0] + 1 != len(at):
        raise ShapeError(f"the mask of row {index} has holes, expected padding at the ends only")
    return slice(int(at[0]), int(at[-1]) + 1)
