"""What a Triton server is given: a repository of models whose state it keeps."""

import json
import re
from pathlib import Path

import onnxruntime
import pytest

from grove.codec.bundle import load_bundle
from grove.codec.cli import commands as cli
from grove.tools.triton import config_pbtxt

BUNDLE = load_bundle()


def test_triton_gets_a_repository_that_keeps_the_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["tokens", "triton", "--out", str(tmp_path / "models")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    name = BUNDLE.spec.name
    assert (tmp_path / "models" / f"{name}-encoder" / "1" / "model.onnx").read_bytes() == (
        BUNDLE.encoder
    )


@pytest.mark.parametrize("is_encoder", [True, False])
def test_triton_is_told_every_tensor_of_the_graph(is_encoder: bool) -> None:
    text = config_pbtxt(BUNDLE, is_encoder)
    graph = onnxruntime.InferenceSession(BUNDLE.encoder if is_encoder else BUNDLE.decoder)
    kinds = {"tensor(float)": "TYPE_FP32", "tensor(int64)": "TYPE_INT64"}

    def told(tensors: list[onnxruntime.NodeArg]) -> dict[str, tuple[str, list[int]]]:
        """Triton counts the batch apart, and writes -1 for what may be of any size."""
        return {
            tensor.name: (
                kinds[tensor.type],
                [size if isinstance(size, int) else -1 for size in tensor.shape[1:]],
            )
            for tensor in tensors
        }

    port = r'name: "(\w+)" data_type: (\w+) dims: \[ (.+?) \]'
    for kind, state, tensors in (
        ("input", "state", told(graph.get_inputs())),
        ("output", "new_state", told(graph.get_outputs())),
    ):
        kept, (count,) = tensors.pop(state)
        found = re.findall(rf"^{kind} {{ {port} }}$", text, re.M)
        listed = {name: (type_, json.loads(f"[{dims}]")) for name, type_, dims in found}
        assert listed == tensors
        assert f'{kind}_name: "{state}"' in text
        assert re.findall(r"data_type: (\w+)\n +dims: \[ (\d+) \]", text) == [
            (kept, str(count)),
            (kept, str(count)),
        ]
    assert "zero_data: true" in text
