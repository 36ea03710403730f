"""The HTTP server, with its limits in bytes and seconds."""

from __future__ import annotations

from tornado.httpserver import HTTPServer

from .bodies import MAX_DROPPED_BYTES
from .routes import application
from .services import Services

__all__ = ["http_server"]

HEADER_SECONDS = 75.0
BODY_SECONDS = 120.0
MAX_HEADER_BYTES = 64 * 1024


def http_server(
    services: Services, *, header_seconds: float = HEADER_SECONDS, body_seconds: float = BODY_SECONDS
) -> HTTPServer:
    """Return a server of all routes.

    Parameters
    ----------
    header_seconds: timeout for the headers of a request, and for an idle connection.
    body_seconds: timeout for a body; when a body or an answer is streamed, for each piece of it.
    """
    return HTTPServer(
        application(services, idle_seconds=body_seconds),
        xheaders=services.web.trust_proxy,
        max_header_size=MAX_HEADER_BYTES,
        # above the limits of `BoundedApplication`, which reads the rest of a body and drops it
        max_body_size=MAX_DROPPED_BYTES,
        idle_connection_timeout=header_seconds,
        body_timeout=body_seconds,
    )
