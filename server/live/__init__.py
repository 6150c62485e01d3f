"""Streams over a WebSocket, from the socket to the engine's work and back."""
