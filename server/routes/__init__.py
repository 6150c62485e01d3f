"""The HTTP and WebSocket endpoints, one module each."""
