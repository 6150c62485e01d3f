"""Training of codecs: data, losses, the loop, evaluation and release."""
