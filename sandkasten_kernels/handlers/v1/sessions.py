"""``/v1/sessions``: sessions for REST clients."""

from __future__ import annotations

import asyncio

from ...sessions import info
from .base import V1Handler
from .parameters import label_filter, session_request

__all__ = ["SessionHandler", "SessionStatsHandler", "SessionsHandler"]


class SessionsHandler(V1Handler):
    """``GET`` and ``POST /v1/sessions``."""

    def get(self) -> None:
        labels = label_filter(self.get_query_arguments("label"))
        self.write_json([info(*found) for found in self.services.sessions.search(labels, self.owner)])

    async def post(self) -> None:
        limits = self.services.limits
        request = session_request(
            self.json_body(), max_mem_limit_mb=limits.max_mem_limit_mb, max_cpu_limit=limits.max_cpu_limit
        )
        try:
            session = await self.unless_gone(self.services.sessions.create(request, self.owner))
        except asyncio.CancelledError:
            return  # the client left while it waited, and nothing was created
        # the cancel came too late: the session exists, and nobody knows its id
        if self._gone:
            self.services.sessions.end(session.id, "its client left before it had the answer", self.owner)
            return
        self.set_header("Location", self.url(f"/v1/sessions/{session.id}"))
        self.write_json(info(session.current_record(), session), status=201)


class SessionHandler(V1Handler):
    """``GET`` and ``DELETE /v1/sessions/{id}``."""

    def get(self, session_id: str) -> None:
        self.write_json(info(*self.services.sessions.find(session_id, self.owner)))

    def delete(self, session_id: str) -> None:
        self.services.sessions.end(session_id, "a client destroyed it", self.owner)
        self.write_json({"ok": True})


class SessionStatsHandler(V1Handler):
    """``GET /v1/sessions/{id}/stats``."""

    async def get(self, session_id: str) -> None:
        self.write_json(await self.services.sessions.stats(session_id, self.owner))
