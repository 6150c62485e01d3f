"""Frozen quantizers as ONNX graphs."""

from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from grove.codec.config import (
    BridgeBookConfig,
    FsqConfig,
    GrvqConfig,
    IfsqConfig,
    LookupBookConfig,
    McrvqConfig,
    QuantizerConfig,
    VqBridgeConfig,
)
from grove.codec.model.quantizers import Quantizer, build_quantizer

DIM = 12
SHAPES = {"Reshape", "Shape", "Concat", "Unsqueeze", "Squeeze", "Slice", "Split", "Flatten"}
SHAPES |= {"Constant", "Expand", "Cast"}
DROPPED_LEVELS = {"Greater", "Where"}
BOOKS = {"MatMul", "ArgMax", "Sub", "Gather", "Add"}
SCALARS = {"Add", "Sub", "Mul", "Div", "Round", "Floor", "Gather"}

CASES: dict[str, tuple[QuantizerConfig, set[str]]] = {
    "grvq": (GrvqConfig(groups=2, levels=3, book_size=32), BOOKS),
    "mcrvq-lookup": (
        McrvqConfig(masked_books=3, books=5, book_size=32, book=LookupBookConfig(dim=4)),
        BOOKS | {"Gemm", "Mul"},
    ),
    "vqbridge": (
        VqBridgeConfig(book_size=64, book=BridgeBookConfig(width=16, patch=2)),
        BOOKS,
    ),
    "fsq": (FsqConfig(levels=4, steps=(8, 5, 4)), SCALARS | {"Tanh"}),
    "ifsq-projected": (
        IfsqConfig(levels=2, steps=(7, 5)),
        SCALARS | {"Sigmoid", "MatMul", "Gemm"},
    ),
}


class Both(nn.Module):
    """Encode, then decode at the given levels."""

    def __init__(self, quantizer: Quantizer) -> None:
        super().__init__()
        self.quantizer = quantizer

    def forward(self, latent: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        codes = self.quantizer.encode(latent)
        return codes, self.quantizer.decode(codes, levels)


def latent(seed: int, batch: int, frames: int) -> Tensor:
    return torch.randn(batch, frames, DIM, generator=torch.Generator().manual_seed(seed))


def frozen(config: QuantizerConfig) -> Quantizer:
    torch.manual_seed(0)
    quantizer = build_quantizer(config, DIM).train()
    for seed in range(8):
        quantizer(latent(seed, 2, 50))
    quantizer.eval().freeze()
    return quantizer


def export(quantizer: Quantizer, file: Path) -> onnxruntime.InferenceSession:
    axes = {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}
    program = torch.onnx.export(
        Both(quantizer).eval(),
        (latent(50, 2, 5), torch.full((2, 5), 1)),
        input_names=["latent", "levels"],
        dynamo=True,
        verbose=False,
        dynamic_shapes=(axes, axes),
    )
    assert program is not None
    program.save(file)
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])


def operators(file: Path) -> set[str]:
    model = onnx.load(file)
    assert not model.functions
    return {node.op_type for node in model.graph.node}


# torch.export copies its own tree specs, and torch itself calls that deprecated.
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
@pytest.mark.parametrize("case", CASES)
def test_a_frozen_quantizer_is_the_same_in_onnx(case: str, tmp_path: Path) -> None:
    config, allowed = CASES[case]
    quantizer = frozen(config)
    session = export(quantizer, tmp_path / "quantizer.onnx")
    assert operators(tmp_path / "quantizer.onnx") <= allowed | SHAPES | DROPPED_LEVELS
    for batch, frames in ((3, 200), (1, 1)):
        x = latent(51, batch, frames)
        levels = torch.randint(quantizer.levels + 1, (batch, frames))
        codes = quantizer.encode(x)
        feed = {"latent": x.numpy(), "levels": levels.numpy()}
        onnx_codes, onnx_values = session.run(None, feed)
        assert torch.equal(torch.from_numpy(onnx_codes), codes)
        expected = quantizer.decode(codes, levels)
        assert torch.allclose(torch.from_numpy(onnx_values), expected, atol=1e-5)
