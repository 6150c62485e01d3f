"""An interpreter of encoder graphs in numpy and float64: slow, equal to 15 digits everywhere."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from grove.codec.errors import BundleError
from grove.codec.exact.onnx_file import Array, Graph, Node

F64 = NDArray[np.float64]

_STEPS_PER_UNIT: Final = 1024
_REACH: Final = 6.0
"""Beyond it the error function is 1 to the last bit."""


class ExactGraph:
    """Computes one output of a graph; what depends on constants only is computed once."""

    def __init__(self, graph: Graph, output: str) -> None:
        self._output = output
        values: dict[str, Array] = {
            name: _widened(array) for name, array in graph.constants.items()
        }
        needed, kept = {output}, []
        for node in reversed(graph.nodes):
            if needed & set(node.outputs):
                needed |= set(node.inputs)
                kept.append(node)
        self._nodes: list[Node] = []
        for node in reversed(kept):
            if all(name in values or not name for name in node.inputs):
                _perform(node, values)
            else:
                self._nodes.append(node)
        used = {name for node in self._nodes for name in node.inputs}
        self._constants = {name: value for name, value in values.items() if name in used}

    def run(self, **inputs: Array) -> Array:
        """Return the output for inputs by name."""
        values = {**self._constants, **{name: _widened(array) for name, array in inputs.items()}}
        for node in self._nodes:
            _perform(node, values)
        return values[self._output]


def erf(x: F64) -> F64:
    """Return the error function to about 14 digits, by Taylor's series around a table's places."""
    values, slopes = _erf_table()
    size = np.minimum(np.abs(x), _REACH)
    place = np.rint(size * _STEPS_PER_UNIT).astype(np.intp)
    near = place / _STEPS_PER_UNIT
    step = size - near
    series = 1 - step * (near - step * (2 * near * near - 1) / 3)
    found: F64 = np.copysign(values[place] + slopes[place] * step * series, x)
    return found


@lru_cache(maxsize=1)
def _erf_table() -> tuple[F64, F64]:
    places = np.arange(int(_REACH * _STEPS_PER_UNIT) + 1) / _STEPS_PER_UNIT
    values = np.array([math.erf(place) for place in places])
    return values, 2 / math.sqrt(math.pi) * np.exp(-places * places)


def _widened(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _perform(node: Node, values: dict[str, Array]) -> None:
    operation = _OPERATIONS.get(node.kind)
    if operation is None:
        raise BundleError(f"the encoder has an operation {node.kind}, which has no exact form here")
    inputs = [values[name] if name else None for name in node.inputs]
    found = operation(node, *inputs)
    results = found if isinstance(found, list) else [found]
    values.update(zip(node.outputs, results, strict=True))


def _cast(node: Node, x: Array) -> Array:
    return x.astype(np.float64) if node.integer("to", 1) in (1, 10, 11) else x.astype(np.int64)


def _clip(_: Node, x: Array, low: Array, high: Array) -> Array:
    return np.clip(x, low, high)


def _concat(node: Node, *parts: Array) -> Array:
    return np.concatenate(parts, axis=node.integer("axis", 0))


def _constant_of_shape(node: Node, shape: Array) -> Array:
    if node.attributes:
        raise BundleError(
            "the encoder has a constant other than zero, which has no exact form here"
        )
    return np.zeros([int(size) for size in shape])


def _gather(node: Node, x: Array, places: Array) -> Array:
    return np.take(x, places, axis=node.integer("axis", 0))


def _gelu(node: Node, x: Array) -> Array:
    if node.attributes.get("approximate", b"none") != b"none":
        raise BundleError("the encoder has an approximate Gelu, which has no exact form here")
    found: Array = 0.5 * x * (1 + erf(x / math.sqrt(2)))
    return found


def _gemm(node: Node, a: Array, b: Array, c: Array) -> Array:
    left = a.T if node.integer("transA", 0) else a
    right = b.T if node.integer("transB", 0) else b
    found: Array = left @ right + c
    return found


def _layer_norm(node: Node, x: Array, scale: Array, bias: Array) -> Array:
    epsilon = float(node.attributes.get("epsilon", 1e-5))  # type: ignore[arg-type]
    centred = x - x.mean(-1, keepdims=True)
    spread = np.sqrt((centred * centred).mean(-1, keepdims=True) + epsilon)
    found: Array = centred / spread * scale + bias
    return found


def _reshape(_: Node, x: Array, shape: Array) -> Array:
    sizes = [x.shape[at] if size == 0 else int(size) for at, size in enumerate(shape)]
    return x.reshape(sizes)


def _shape(node: Node, x: Array) -> Array:
    return np.array(x.shape[node.integer("start", 0) : node.integer("end", x.ndim)], np.int64)


def _slice(
    _: Node, x: Array, starts: Array, ends: Array, axes: Array, steps: Array | None = None
) -> Array:
    places = [slice(None)] * x.ndim
    by = np.ones(len(axes), np.int64) if steps is None else steps
    for start, end, axis, step in zip(starts, ends, axes, by, strict=True):
        size = x.shape[axis]
        first = int(start) + (size if start < 0 else 0)
        last: int | None = int(end) + (size if end < 0 else 0)
        if step < 0:
            first, last = min(first, size - 1), None if last is not None and last < 0 else last
        places[axis] = slice(first, last, int(step))
    return x[tuple(places)]


def _split(node: Node, x: Array, sizes: Array | None = None) -> list[Array]:
    axis = node.integer("axis", 0)
    if sizes is None:
        return np.array_split(x, node.integer("num_outputs", len(node.outputs)), axis)
    return np.split(x, np.cumsum(sizes)[:-1], axis)


def _squeeze(_: Node, x: Array, axes: Array | None = None) -> Array:
    return np.squeeze(x, None if axes is None else tuple(int(axis) for axis in axes))


def _unsqueeze(_: Node, x: Array, axes: Array) -> Array:
    return np.expand_dims(x, tuple(int(axis) for axis in axes))


def _transpose(node: Node, x: Array) -> Array:
    return np.transpose(x, node.attributes.get("perm"))  # type: ignore[arg-type]


_OPERATIONS: Final[dict[str, Callable[..., Any]]] = {
    "Abs": lambda _, x: np.abs(x),
    "Add": lambda _, x, y: x + y,
    "ArgMax": lambda _, x: x.argmax(-1),
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Div": lambda _, x, y: x / y if x.dtype.kind == "f" else x // y,
    "Exp": lambda _, x: np.exp(x),
    "Expand": lambda _, x, shape: x * np.ones([int(size) for size in shape], x.dtype),
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "LayerNormalization": _layer_norm,
    "MatMul": lambda _, x, y: x @ y,
    "Mod": lambda _, x, y: np.mod(x, y),
    "Mul": lambda _, x, y: x * y,
    "Relu": lambda _, x: np.maximum(x, 0),
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Sqrt": lambda _, x: np.sqrt(x),
    "Squeeze": _squeeze,
    "Sub": lambda _, x, y: x - y,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
