"""Grove: a causal neural audio codec that turns audio into tokens and back, in real time."""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from grove.codec.auto.features import AutoFeatureExtractor, AutoProcessor
    from grove.codec.auto.model import AutoCodec
    from grove.codec.auto.peers import DacModel, EncodecModel, MimiModel
    from grove.codec.pretrained import GroveConfig, GroveFeatureExtractor, GroveModel
    from grove.codec.tokens.vocab import VocabSpec

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
    "AutoCodec": "grove.codec.auto.model",
    "DacModel": "grove.codec.auto.peers",
    "EncodecModel": "grove.codec.auto.peers",
    "MimiModel": "grove.codec.auto.peers",
    "AutoFeatureExtractor": "grove.codec.auto.features",
    "AutoProcessor": "grove.codec.auto.features",
    "GroveConfig": "grove.codec.pretrained",
    "GroveFeatureExtractor": "grove.codec.pretrained",
    "GroveModel": "grove.codec.pretrained",
    "VocabSpec": "grove.codec.tokens.vocab",
}


def __getattr__(name: str) -> object:
    """Load what is asked for when it is asked for: `import grove` itself costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
