"""The service: REST and WebSocket endpoints around one engine."""
