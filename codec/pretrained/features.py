"""`GroveFeatureExtractor`: clips to padded batches, as transformers' own extractors make them."""

from transformers import EncodecFeatureExtractor


class GroveFeatureExtractor(EncodecFeatureExtractor):
    """Pads clips [n] at the codec's rate to input_values [B, 1, N] and padding_mask [B, N]."""
