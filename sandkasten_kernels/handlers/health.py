"""``GET /healthz``, and the answer to paths without a route."""

from __future__ import annotations

from tornado.web import HTTPError

from .base import Handler

__all__ = ["HealthHandler", "NotFoundHandler"]


class HealthHandler(Handler):
    """``GET /healthz``: 200 while the gateway serves. Open to all."""

    open_to_all = True

    def get(self) -> None:
        self.write_json({"status": "ok"})


class NotFoundHandler(Handler):
    """Answers every path without a route: 404 as JSON.

    Open to all: a client without a key cannot learn from the status which paths exist.
    """

    open_to_all = True

    def prepare(self) -> None:
        raise HTTPError(404, "there is nothing at this path")

    @classmethod
    def allowed_methods(cls) -> str:
        return ""
