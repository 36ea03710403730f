"""Bodies that are too large are read to their end and dropped, so that the client can read why.

Tornado would end the connection, and a client that still sends sees that before it sees any answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest, RequestStartLine, ResponseStartLine
from tornado.web import Application

__all__ = ["MAX_BODY_BYTES", "MAX_DROPPED_BYTES", "BoundedApplication", "is_oversized"]

MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_DROPPED_BYTES = 256 * 1024 * 1024
MAX_STRANGERS_BYTES = 64 * 1024
"""Of who has no key: more than the form that signs in ever has, and little enough for many at once."""


class _BoundedDelegate(HTTPMessageDelegate):
    """Passes a request on, without a body above `MAX_BODY_BYTES`, or a stranger's above `MAX_STRANGERS_BYTES`.

    ``is_known`` says whether whoever sends a request has a key.
    """

    def __init__(
        self, inner: HTTPMessageDelegate, request: HTTPServerRequest, is_known: Callable[[HTTPServerRequest], object]
    ) -> None:
        self._inner = inner
        self._request = request
        self._is_known = is_known
        self._limit = MAX_STRANGERS_BYTES
        self._received = 0

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        return self._inner.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        before, self._received = self._received, self._received + len(chunk)
        if before <= MAX_STRANGERS_BYTES < self._received and self._is_known(self._request):
            self._limit = MAX_BODY_BYTES
        if self._received <= self._limit:
            return self._inner.data_received(chunk)
        self._request.oversized = True  # type: ignore[attr-defined]
        self._request.headers.pop("Content-Type", None)  # half a form would be answered as a malformed one
        return None

    def finish(self) -> None:
        self._inner.finish()

    def on_connection_close(self) -> None:
        self._inner.on_connection_close()


class BoundedApplication(Application):
    """A Tornado application whose handlers ask `is_oversized` instead of losing the connection.

    A handler that takes its body in pieces has bounds of its own. The setting ``is_known`` says whether whoever sends a
    request has a key; without it everybody has.
    """

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        handler = super().find_handler(request, **kwargs)
        if getattr(handler, "stream_request_body", False):
            return handler
        return _BoundedDelegate(handler, request, self.settings.get("is_known", bool))


def is_oversized(request: HTTPServerRequest) -> bool:
    """Return whether the body was too large; what there is of it then means nothing."""
    return getattr(request, "oversized", False)
