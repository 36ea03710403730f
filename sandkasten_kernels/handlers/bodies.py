"""BoundedApplication: reads bodies above the limit to their end and drops them, so that the client gets an answer.

Tornado would close the connection instead. A client that is still sending would see that before any answer.
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
"""The limit for a caller without a key: above the size of the sign-in form, and small enough for many at once."""


class _BoundedDelegate(HTTPMessageDelegate):
    """Passes a request on; marks it as oversized and drops the rest of its body above the limit.

    The limit is `MAX_BODY_BYTES` for a caller with a key, which ``is_known`` tells, else `MAX_STRANGERS_BYTES`.
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
        # the key is checked once, when the body passes the limit for callers without one
        if before <= MAX_STRANGERS_BYTES < self._received and self._is_known(self._request):
            self._limit = MAX_BODY_BYTES
        if self._received <= self._limit:
            return self._inner.data_received(chunk)
        self._request.oversized = True  # type: ignore[attr-defined]
        self._request.headers.pop(
            "Content-Type", None
        )  # Tornado would parse half a form, and answer that it is malformed
        return None

    def finish(self) -> None:
        self._inner.finish()

    def on_connection_close(self) -> None:
        self._inner.on_connection_close()


class BoundedApplication(Application):
    """A Tornado application. Its handlers check `is_oversized`; no connection is closed for a large body.

    A handler that streams its body has limits of its own. The setting ``is_known`` is a callable that returns whether
    the caller of a request has a key; without the setting every caller counts as one with a key.
    """

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        handler = super().find_handler(request, **kwargs)
        if getattr(handler, "stream_request_body", False):
            return handler
        return _BoundedDelegate(handler, request, self.settings.get("is_known", bool))


def is_oversized(request: HTTPServerRequest) -> bool:
    """Return whether the body exceeded the limit; its content is then incomplete and must not be used."""
    return getattr(request, "oversized", False)
