"""The codec and its runtime: everything but the web and the training."""
