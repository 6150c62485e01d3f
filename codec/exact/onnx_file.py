"""The parts of an ONNX file that we need, read and changed without the onnx package.

A protobuf message is a row of fields: a key (number and wire type) and a value. What is not known
here is passed on as it is.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from grove.codec.errors import BundleError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_TYPES: Final[dict[int, np.dtype[Any]]] = {
    1: np.dtype("<f4"),
    3: np.dtype("i1"),
    6: np.dtype("<i4"),
    7: np.dtype("<i8"),
    9: np.dtype("?"),
    10: np.dtype("<f2"),
    11: np.dtype("<f8"),
}
_FLOAT: Final = 1
_INT64: Final = 7

Array = NDArray[Any]
Attribute = float | int | bytes | list[int] | Array


@dataclass(frozen=True, slots=True)
class Node:
    """One operation."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Attribute] = field(default_factory=dict)

    def integer(self, name: str, default: int) -> int:
        value = self.attributes.get(name, default)
        assert isinstance(value, int)
        return value


@dataclass(frozen=True, slots=True)
class Graph:
    """Operations in the order in which they run, and the constants among their inputs."""

    nodes: tuple[Node, ...]
    constants: dict[str, Array]


def read_graph(model: bytes) -> Graph:
    """Return the graph of an ONNX file."""
    nodes, constants = [], {}
    for number, value in _fields(_graph_of(model)):
        if number == 1:
            nodes.append(_node(value))
        elif number == 5:
            name, array = _tensor(value)
            constants[name] = array
    return Graph(tuple(nodes), constants)


def with_best_two(model: bytes, output: str) -> bytes:
    """Return the file with ArgMax turned into the best two scores, a further `output` [N, 2 K].

    What ArgMax found is the first of the two, so that every other output stays as it is.
    """
    two, first = f"{output}.two", f"{output}.first"
    body, scores = [], []
    for number, value in _fields(_graph_of(model)):
        node = _node(value) if number == 1 else None
        if node is None or node.kind != "ArgMax":
            body.append(_field(number, bytes(value)))
            continue
        _check_arg_max(node)
        (found,) = node.outputs
        scores.append(f"{output}.{found}")
        ranks = f"{output}.{found}.ranks"
        top = Node("TopK", (*node.inputs, two), (scores[-1], ranks), {"axis": -1})
        body += [_field(1, _written(top)), _field(1, _written(_gather(ranks, first, found)))]
    if not scores:
        raise BundleError("the encoder graph searches no book by ArgMax")
    body += [
        _field(1, _written(Node("Concat", tuple(scores), (output,), {"axis": 1}))),
        _field(5, _written_integer(two, 2, dims=(1,))),
        _field(5, _written_integer(first, 0, dims=())),
        _field(12, _field(1, output.encode()) + _field(2, _field(1, _varint(8) + b"\x01"))),
    ]
    rest = (_field(n, v) for n, v in _fields(memoryview(model)) if n != 7)
    return b"".join([*rest, _field(7, b"".join(body))])


def _check_arg_max(node: Node) -> None:
    expected = {"axis": -1, "keepdims": 0, "select_last_index": 0}
    found = {name: node.integer(name, int(name == "keepdims")) for name in expected}
    if found != expected:
        raise BundleError(f"an ArgMax of the encoder has {found}, expected {expected}")


def _gather(ranks: str, first: str, found: str) -> Node:
    return Node("Gather", (ranks, first), (found,), {"axis": 1})


# --- reading ------------------------------------------------------------------------------


def _graph_of(model: bytes) -> memoryview:
    for number, value in _fields(memoryview(model)):
        if number == 7 and isinstance(value, memoryview):
            return value
    raise BundleError("an ONNX file holds no graph")


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """Yield the number and value of each field: bytes, or an integer."""
    at = 0
    while at < len(data):
        key, at = _integer(data, at)
        match key & 7:
            case 0:
                value, at = _integer(data, at)
                yield key >> 3, value
            case 2:
                size, at = _integer(data, at)
                yield key >> 3, data[at : at + size]
                at += size
            case 5:
                yield key >> 3, _Fixed(data[at : at + 4])
                at += 4
            case 1:
                yield key >> 3, _Fixed(data[at : at + 8])
                at += 8
            case kind:
                raise BundleError(f"an ONNX file holds a field of wire type {kind}")


class _Fixed(bytes):
    """The bytes of a number of fixed size."""


def _integer(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _integers(value: Any) -> list[int]:  # noqa: ANN401 - packed or alone
    """Return the numbers of a repeated field, which may be packed into one."""
    if isinstance(value, int):
        return [_signed(value)]
    found, at = [], 0
    while at < len(value):
        number, at = _integer(value, at)
        found.append(_signed(number))
    return found


def _node(data: memoryview) -> Node:
    inputs, outputs, kind = [], [], ""
    attributes: dict[str, Attribute] = {}
    for number, value in _fields(data):
        match number:
            case 1:
                inputs.append(bytes(value).decode())
            case 2:
                outputs.append(bytes(value).decode())
            case 4:
                kind = bytes(value).decode()
            case 5:
                name, attribute = _attribute(value)
                attributes[name] = attribute
    return Node(kind, tuple(inputs), tuple(outputs), attributes)


def _attribute(data: memoryview) -> tuple[str, Attribute]:
    name, found, numbers = "", b"", list[int]()
    result: Attribute = found
    for number, value in _fields(data):
        match number:
            case 1:
                name = bytes(value).decode()
            case 2:
                (result,) = struct.unpack("<f", value)
            case 3:
                result = _signed(value)
            case 4:
                result = bytes(value)
            case 5:
                _, result = _tensor(value)
            case 8:
                numbers += _integers(value)
                result = numbers
    return name, result


def _tensor(data: memoryview) -> tuple[str, Array]:
    name, kind, dims, raw = "", 0, list[int](), memoryview(b"")
    for number, value in _fields(data):
        match number:
            case 1:
                dims += _integers(value)
            case 2:
                kind = value
            case 8:
                name = bytes(value).decode()
            case 9:
                raw = value
    if kind not in _TYPES:
        raise BundleError(f"tensor {name} has data type {kind}")
    return name, np.frombuffer(raw, _TYPES[kind]).reshape(dims)


# --- writing ------------------------------------------------------------------------------


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, value: Any) -> bytes:  # noqa: ANN401 - as `_fields` yields them
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value & (1 << 64) - 1)
    if isinstance(value, _Fixed):
        return _varint(number << 3 | (_FIXED32 if len(value) == 4 else _FIXED64)) + value
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + bytes(value)


def _written(node: Node) -> bytes:
    """Return a node whose attributes are integers."""
    parts = [_field(1, name.encode()) for name in node.inputs]
    parts += [_field(2, name.encode()) for name in node.outputs]
    parts.append(_field(4, node.kind.encode()))
    for name, value in node.attributes.items():
        assert isinstance(value, int)
        parts.append(_field(5, _field(1, name.encode()) + _field(3, value) + _field(20, 2)))
    return b"".join(parts)


def _written_integer(name: str, value: int, dims: tuple[int, ...]) -> bytes:
    shape = b"".join(_field(1, dim) for dim in dims)
    raw = np.array(value, _TYPES[_INT64]).tobytes()
    return shape + _field(2, _INT64) + _field(8, name.encode()) + _field(9, raw)
