"""The constants of a bundle's graph, each under the name that the torch module gave it.

A graph keeps the names of biases, tables and norms. What the exporter transposed or cut has lost
its own, and gets it back from the bias that is added to its product.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grove.codec.exact.onnx_file import Graph

Array = NDArray[Any]

_BIAS = ".bias"
_TAPS_BIAS = ".depthwise.bias"
# Matrices that are no layer's: a book as it is searched, a transform.
_TABLES = (".search_table", ".matrix")


@dataclass(frozen=True)
class Constants:
    """What one graph holds besides its operations."""

    graph: Graph

    @cached_property
    def named(self) -> dict[str, Array]:
        """Constants by name, with those that the graph only widens or transposes before use."""
        found = dict(self.graph.constants)
        for node in self.graph.nodes:
            first = node.inputs[0] if node.inputs else ""
            if first not in found:
                continue
            if node.kind == "Cast" and found[first].dtype == np.float16:
                found[node.outputs[0]] = found[first].astype(np.float32)
            elif node.kind == "Transpose":
                found[node.outputs[0]] = found[first].T
        return found | self._matrices(found)[0] | self._taps(found)

    @cached_property
    def nameless(self) -> list[Array]:
        """Weights [out, in] of layers without a bias, in the order in which they are used."""
        return self._matrices(self.named)[1]

    def size(self, name: str) -> int:
        """Return the length of a constant."""
        return len(self.named[name])

    def _matrices(self, constants: dict[str, Array]) -> tuple[dict[str, Array], list[Array]]:
        """Return the weights [out, in] of layers by name, and those without a name."""
        added = {
            node.inputs[0]: node.inputs[1]
            for node in self.graph.nodes
            if node.kind == "Add" and node.inputs[1] in constants
        }
        named, nameless = dict[str, Array](), list[Array]()
        for node in self.graph.nodes:
            if node.kind == "Gemm" and node.inputs[1] in constants:
                matrix = constants[node.inputs[1]]
                matrix = matrix if node.integer("transB", 0) else matrix.T
                named[_weight_of(node.inputs[2])] = matrix
            elif node.kind == "MatMul" and node.inputs[1] in constants:
                bias = added.get(node.outputs[0])
                if bias is not None:
                    named[_weight_of(bias)] = constants[node.inputs[1]].T
                elif not node.inputs[1].endswith(_TABLES):
                    nameless.append(constants[node.inputs[1]].T)
        return named, nameless

    def _taps(self, constants: dict[str, Array]) -> dict[str, Array]:
        """Return the weights [taps, C] of depthwise layers: shifted frames times rows, added up."""
        rows = {
            node.outputs[0]: constants[node.inputs[1]]
            for node in self.graph.nodes
            if node.kind == "Mul" and node.inputs[1] in constants
        }
        found: dict[str, list[Array]] = {}
        sums: dict[str, str] = {}
        for node in self.graph.nodes:
            if node.kind == "Add" and node.inputs[1] in rows:
                before, row = node.inputs
                layer = before if before.endswith(_TAPS_BIAS) else sums.get(before)
                if layer is not None:
                    found.setdefault(layer, []).append(rows[row])
                    sums[node.outputs[0]] = layer
        return {_weight_of(bias): np.stack(taps) for bias, taps in found.items()}


def _weight_of(bias: str) -> str:
    return f"{bias.removesuffix(_BIAS)}.weight"


def scatter_columns(graph: Graph) -> int:
    """Return how many coefficients have drawn signs: the width of the table that holds them."""
    tables = [value for value in graph.constants.values() if _is_signs(value)]
    return int(tables[0].shape[1]) if tables else 0


def _is_signs(value: Array) -> bool:
    return value.dtype == np.int8 and value.ndim == 2
