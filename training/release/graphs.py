"""Torch modules to ONNX graphs: one step of the encoder, one step of the decoder."""

import warnings
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from grove.codec.model.codec import CodecNetwork

Array: TypeAlias = npt.NDArray[Any]

# Smaller tensors stay as they are: there is nothing to gain, and norms and biases want the bits.
_HALF_FROM_ELEMENTS = 4096


class EncoderStep(nn.Module):
    """pcm [B, T, hop], state [B, S] -> codes [B, T, K], state."""

    def __init__(self, codec: CodecNetwork) -> None:
        super().__init__()
        self.encoder, self.quantizer = codec.encoder, codec.quantizer

    def forward(self, pcm: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        latent, new_state = self.encoder(pcm.reshape(pcm.shape[0], -1), state)
        return self.quantizer.encode(latent), new_state


class DecoderStep(nn.Module):
    """codes [B, T, K], levels [B, T], state [B, S] -> pcm [B, T, hop], state."""

    def __init__(self, codec: CodecNetwork) -> None:
        super().__init__()
        self.decoder, self.quantizer, self.hop = codec.decoder, codec.quantizer, codec.hop

    def forward(self, codes: Tensor, levels: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        latent = self.quantizer.decode(codes, levels)
        pcm, new_state = self.decoder(latent, levels, state)
        return pcm.reshape(pcm.shape[0], -1, self.hop), new_state


class Graphs(NamedTuple):
    """Both graphs, serialized."""

    encoder: bytes
    decoder: bytes


def build_graphs(codec: CodecNetwork) -> Graphs:
    """Export a frozen codec in eval mode; weights that half precision holds are stored in it."""
    pcm = torch.randn(2, 3, codec.hop) * 0.1
    encoder_state = torch.zeros(2, codec.encoder.state_size)
    encoder = _export(EncoderStep(codec), {"pcm": pcm, "state": encoder_state}, "codes")
    levels = torch.full((2, 3), codec.quantizer.levels)
    codes = torch.zeros(2, 3, len(codec.quantizer.code_sizes), dtype=torch.int64)
    decoder_state = torch.zeros(2, codec.decoder.state_size)
    feed = {"codes": codes, "levels": levels, "state": decoder_state}
    decoder = _export(DecoderStep(codec), feed, "pcm")
    return Graphs(_compact(encoder, codec.hop), _compact(decoder, codec.hop))


def _export(step: nn.Module, feed: dict[str, Tensor], output: str) -> onnx.ModelProto:
    batch, frames = torch.export.Dim("batch"), torch.export.Dim("frames")
    shapes = {name: {0: batch} if name == "state" else {0: batch, 1: frames} for name in feed}
    with warnings.catch_warnings():
        # The exporter warns of packages it could use and of its own internals.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            step.eval(),
            tuple(feed.values()),
            dynamo=True,
            verbose=False,
            dynamic_shapes=shapes,
            input_names=list(feed),
            output_names=[output, "new_state"],
            external_data=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return model


def _compact(model: onnx.ModelProto, hop: int) -> bytes:
    """Drop what the exporter notes for itself, and store constants in their smallest exact form."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.value_info[:]
    del model.metadata_props[:]
    compact = onnx.ModelProto()
    compact.CopyFrom(model)
    del compact.graph.initializer[:]
    prelude: list[onnx.NodeProto] = []
    kept: dict[str, Array] = {}
    for initializer in model.graph.initializer:
        array = numpy_helper.to_array(initializer)
        name = initializer.name
        nodes = _cosines(name, array, hop, compact) or _shared(name, array, kept)
        if not nodes:
            kept[name] = array
            nodes = _halved(name, array, compact)
        prelude += nodes
    body = list(compact.graph.node)
    del compact.graph.node[:]
    compact.graph.node.extend([*prelude, *body])
    onnx.checker.check_model(compact)
    content: bytes = compact.SerializeToString(deterministic=True)
    return content


def _add(model: onnx.ModelProto, name: str, array: Array) -> str:
    model.graph.initializer.append(numpy_helper.from_array(array, name))
    return name


def _halved(name: str, array: Array, model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Store float32 as float16 with a cast behind it, where no bit is lost."""
    if array.dtype != np.float32 or array.size < _HALF_FROM_ELEMENTS:
        _add(model, name, array)
        return []
    half = array.astype(np.float16)
    if not np.array_equal(half.astype(np.float32), array):
        _add(model, name, array)
        return []
    stored = _add(model, f"{name}.half", half)
    return [helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT)]


def _shared(name: str, array: Array, kept: dict[str, Array]) -> list[onnx.NodeProto]:
    """Take a table that is another one transposed (a book is searched and read) from that one."""
    if array.ndim != 2 or array.size < _HALF_FROM_ELEMENTS:
        return []
    for other, candidate in kept.items():
        if candidate.shape == array.shape[::-1] and np.array_equal(candidate, array.T):
            return [helper.make_node("Transpose", [other], [name], perm=[1, 0])]
    return []


def _cosines(name: str, array: Array, hop: int, model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Write a DCT matrix as a lookup: its angles are integers modulo 8 N, its values one table."""
    if array.shape != (hop, hop) or array.dtype != np.float32:
        return []
    odd = 2 * np.arange(hop, dtype=np.int64) + 1
    for transposed in (False, True):
        rows, columns = (
            (odd[:, None], odd[None, ::-1]) if transposed else (odd[::-1, None], odd[None])
        )
        angles = rows * columns % (8 * hop)
        table = np.zeros(8 * hop, np.float32)
        table[angles.reshape(-1)] = array.reshape(-1)
        if np.array_equal(table[angles], array):
            parts = [
                _add(model, f"{name}.rows", np.ascontiguousarray(rows)),
                _add(model, f"{name}.columns", np.ascontiguousarray(columns)),
                _add(model, f"{name}.period", np.array(8 * hop, np.int64)),
                _add(model, f"{name}.table", table),
            ]
            return [
                helper.make_node("Mul", parts[:2], [f"{name}.product"]),
                helper.make_node("Mod", [f"{name}.product", parts[2]], [f"{name}.angles"]),
                helper.make_node("Gather", [parts[3], f"{name}.angles"], [name]),
            ]
    return []


def macs_per_frame(graph: bytes) -> int:
    """Count multiply-adds of one frame: matrix products, and products with per-channel weights."""
    model = onnx.load_from_string(graph)
    shapes = {i.name: tuple(i.dims) for i in model.graph.initializer}
    total = 0
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in shapes:
            shapes[node.output[0]] = shapes[node.input[0]]
        elif node.op_type == "Transpose" and node.input[0] in shapes:
            shapes[node.output[0]] = shapes[node.input[0]][::-1]
        elif node.op_type == "Gather" and node.input[0].endswith(".table"):
            name = node.output[0]
            shapes[name] = (shapes[f"{name}.rows"][0], shapes[f"{name}.columns"][1])
        elif node.op_type in ("MatMul", "Gemm"):
            total += int(np.prod(shapes[node.input[1]]))
        elif node.op_type == "Mul":
            constant = [shapes[name] for name in node.input if name in shapes]
            total += (
                int(np.prod(constant[0])) if constant and len(node.input) > len(constant) else 0
            )
    return total
