"""Whole files through the engine: uploads in, audio or tokens out."""
