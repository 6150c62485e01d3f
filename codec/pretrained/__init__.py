"""The codec as a torch model for transformers, beside the exact one; an extra, never for serving.

Importing this package makes `AutoConfig`, `AutoModel` and `AutoFeatureExtractor` of transformers
know what `save_pretrained` wrote.
"""

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel

from grove.codec.pretrained.configuration import GroveConfig
from grove.codec.pretrained.features import GroveFeatureExtractor
from grove.codec.pretrained.modeling import GroveModel

__all__ = ["GroveConfig", "GroveFeatureExtractor", "GroveModel"]

AutoConfig.register(GroveConfig.model_type, GroveConfig)
AutoModel.register(GroveConfig, GroveModel)
AutoFeatureExtractor.register(GroveConfig, GroveFeatureExtractor)
