"""HTTP and WebSocket only: parse, call one method, map one exception to one status."""
