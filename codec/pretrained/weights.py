"""A bundle's weights in the torch module that they were trained in."""

from __future__ import annotations

import io

import numpy as np
import torch

from grove.codec.bundle import GOLDEN, Bundle
from grove.codec.config import CodecConfig
from grove.codec.errors import BundleError
from grove.codec.exact.onnx_file import read_graph
from grove.codec.model.codec import CodecNetwork
from grove.codec.pretrained.architecture import architecture_of
from grove.codec.pretrained.constants import Array, Constants

_LEAST_EQUAL_CODES = 0.9999
_PCM_TOLERANCE = 1e-4


def codec_of(bundle: Bundle, architecture: CodecConfig | None = None) -> CodecNetwork:
    """Return the codec of a bundle, proven on the bundle's golden vectors."""
    encoder, decoder = (Constants(read_graph(graph)) for graph in (bundle.encoder, bundle.decoder))
    config = architecture or architecture_of(bundle.spec, encoder, decoder)
    codec = finished_codec(config)
    fill(codec, encoder, decoder)
    prove(codec, bundle)
    return codec


def finished_codec(config: CodecConfig) -> CodecNetwork:
    """Return a codec with the books of one that is trained: tables without a history."""
    codec = CodecNetwork(config).eval()
    codec.quantizer.freeze()
    return codec


def fill(codec: CodecNetwork, encoder: Constants, decoder: Constants) -> None:
    """Copy the constants of both graphs into the codec; all it has must be among them."""
    wanted = codec.state_dict()
    found = decoder.named | encoder.named
    missing = [name for name in wanted if name not in found]
    nameless = encoder.nameless + decoder.nameless
    if len(missing) != len(nameless):
        raise BundleError(f"the graphs hold {len(nameless)} weights for {', '.join(missing)}")
    found |= dict(zip(missing, nameless, strict=True))
    codec.load_state_dict({name: _fitting(name, found[name], wanted[name]) for name in wanted})


def _fitting(name: str, value: Array, like: torch.Tensor) -> torch.Tensor:
    if value.shape != tuple(like.shape):
        raise BundleError(f"{name} has the shape {value.shape}, expected {tuple(like.shape)}")
    return torch.from_numpy(np.array(value))


def prove(codec: CodecNetwork, bundle: Bundle) -> None:
    """Hold the codec against what the bundle itself made of a piece of speech."""
    with np.load(io.BytesIO(bundle.read(GOLDEN)), allow_pickle=False) as golden:
        pcm = torch.from_numpy(golden["pcm"].astype(np.float32) / 32768)[None]
        codes = torch.from_numpy(golden["codes"].astype(np.int64))[None]
        whole = torch.from_numpy(golden[f"decoded_{bundle.spec.levels}"])
    with torch.no_grad():
        padded = codec.pad(pcm)
        latent, _ = codec.encoder(padded, padded.new_zeros(1, codec.encoder.state_size))
        equal = (codec.quantizer.encode(latent) == codes).double().mean().item()
        levels = torch.full(codes.shape[:2], codec.quantizer.levels)
        quantized = codec.quantizer.decode(codes, levels)
        made, _ = codec.decoder(quantized, levels, pcm.new_zeros(1, codec.decoder.state_size))
    error = (made[0, codec.delay_samples :][: len(whole)] - whole).abs().max().item()
    if equal < _LEAST_EQUAL_CODES or error > _PCM_TOLERANCE:
        raise BundleError(
            f"in torch {equal:.6f} of the golden codes are equal and the sound is off by "
            f"{error:g}, expected {_LEAST_EQUAL_CODES} and {_PCM_TOLERANCE:g}",
            hint="its architecture is another one: give the recipe's codec as `architecture`",
        )
