"""Writes a Triton model repository from a bundle: each graph a model whose state the server keeps.

The onnxruntime backend hands `new_state` of one request to `state` of the next one of the same
sequence, and zeros to the first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from grove.codec.atomic import OutputError, atomic_file
from grove.codec.bundle import Bundle

_MOST_BATCH = 64
_MOST_IDLE_US = 60_000_000


@dataclass(frozen=True, slots=True)
class _Port:
    name: str
    kind: str
    dims: tuple[int, ...]


def write_repository(bundle: Bundle, out: Path) -> Iterator[Path]:
    """Write the models below `out`; yield each file."""
    for part, graph in (("encoder", bundle.encoder), ("decoder", bundle.decoder)):
        folder = out / f"{bundle.spec.name}-{part}"
        try:
            (folder / "1").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made: {error.strerror}") from error
        for path, content in (
            (folder / "config.pbtxt", config_pbtxt(bundle, part == "encoder").encode()),
            (folder / "1" / "model.onnx", graph),
        ):
            with atomic_file(path) as file:
                file.write(content)
            yield path


def config_pbtxt(bundle: Bundle, is_encoder: bool) -> str:
    """Return the configuration of the encoder or the decoder."""
    spec, manifest = bundle.spec, bundle.manifest
    pcm = _Port("pcm", "TYPE_FP32", (-1, spec.hop_samples))
    codes = _Port("codes", "TYPE_INT64", (-1, len(spec.code_sizes)))
    levels = _Port("levels", "TYPE_INT64", (-1,))
    inputs = (pcm,) if is_encoder else (codes, levels)
    outputs = (codes,) if is_encoder else (pcm,)
    state = manifest.encoder_state if is_encoder else manifest.decoder_state
    part = "encoder" if is_encoder else "decoder"
    return "\n".join(
        [
            f"# {spec.name} {spec.version}, model {spec.model_sha256}; {spec.sample_rate_hz} Hz,",
            f"# {spec.hop_samples} samples a frame; the first {spec.delay_samples} decoded samples"
            " of a sequence are to be dropped.",
            f'name: "{spec.name}-{part}"',
            'backend: "onnxruntime"',
            f"max_batch_size: {_MOST_BATCH}",
            _ports("input", inputs),
            _ports("output", outputs),
            "sequence_batching {",
            f"  max_sequence_idle_microseconds: {_MOST_IDLE_US}",
            "  oldest { max_candidate_sequences: 1024 }",
            "  state {",
            '    input_name: "state"',
            '    output_name: "new_state"',
            "    data_type: TYPE_FP32",
            f"    dims: [ {state} ]",
            "    initial_state {",
            '      name: "silence"',
            "      data_type: TYPE_FP32",
            f"      dims: [ {state} ]",
            "      zero_data: true",
            "    }",
            "  }",
            "}",
            "instance_group { kind: KIND_CPU }",
            'parameters { key: "intra_op_thread_count" value: { string_value: "1" } }',
            "",
        ]
    )


def _ports(kind: str, ports: tuple[_Port, ...]) -> str:
    return "\n".join(
        f'{kind} {{ name: "{port.name}" data_type: {port.kind} '
        f"dims: [ {', '.join(map(str, port.dims))} ] }}"
        for port in ports
    )
