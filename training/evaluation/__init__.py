"""Codecs scored beside each other, with and without lost packets."""
