"""Grove: a causal neural audio codec that turns audio into tokens and back, in real time."""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from codec.auto import AutoCodec
    from codec.auto_features import AutoFeatureExtractor, AutoProcessor
    from codec.auto_peers import DacModel, EncodecModel, MimiModel
    from codec.pretrained import GroveConfig, GroveFeatureExtractor, GroveModel
    from codec.vocab import VocabSpec

__all__ = [
    "AutoCodec",
    "AutoFeatureExtractor",
    "AutoProcessor",
    "DacModel",
    "EncodecModel",
    "GroveConfig",
    "GroveFeatureExtractor",
    "GroveModel",
    "MimiModel",
    "VocabSpec",
]

_HOMES = {
    "AutoCodec": "codec.auto",
    "DacModel": "codec.auto_peers",
    "EncodecModel": "codec.auto_peers",
    "MimiModel": "codec.auto_peers",
    "AutoFeatureExtractor": "codec.auto_features",
    "AutoProcessor": "codec.auto_features",
    "GroveConfig": "codec.pretrained",
    "GroveFeatureExtractor": "codec.pretrained",
    "GroveModel": "codec.pretrained",
    "VocabSpec": "codec.vocab",
}


def __getattr__(name: str) -> object:
    """Load what is asked for when it is asked for: `import codec` itself costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
