"""`AutoCodec`: the codec with the names and shapes of transformers."""
