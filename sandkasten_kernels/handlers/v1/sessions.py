"""``/v1/sessions``: sessions for REST clients."""

from __future__ import annotations

import asyncio

from ...errors import InvalidImage
from ...sessions.request import SessionRequest
from .base import V1Handler
from .parameters import SessionBody, label_filter

__all__ = ["SessionHandler", "SessionStatsHandler", "SessionsHandler"]


class SessionsHandler(V1Handler):
    """``GET`` and ``POST /v1/sessions``."""

    def get(self) -> None:
        labels = label_filter(self.get_query_arguments("label"))
        self.write_json(self.services.sessions.infos(labels, self.owner))

    async def post(self) -> None:
        limits = self.services.limits
        wanted = SessionBody.parse(
            self.json_body(), max_mem_limit_mb=limits.max_mem_limit_mb, max_cpu_limit=limits.max_cpu_limit
        )
        try:
            session = await self.unless_gone(self.services.sessions.create(self._wanted(wanted), self.owner))
        except asyncio.CancelledError:
            return  # the client left while it waited, and nothing was created
        if self._gone:
            self.services.sessions.end(session.id, "its client left before it had the answer", self.owner)
            return
        self.set_header("Location", self.url(f"/v1/sessions/{session.id}"))
        self.write_json(self.services.sessions.info(session.id, self.owner), status=201)

    def _wanted(self, wanted: SessionBody) -> SessionRequest:
        spec = self.services.specs.default
        if wanted.image is not None:
            found = self.services.specs.for_image(wanted.image.removeprefix("sandbox-runtime:"))
            if found is None:
                known = ", ".join(self.services.specs.images())
                raise InvalidImage(f"image: {wanted.image[:80]!r} is none that may be used; there are: {known}")
            spec = found
        return SessionRequest(
            kernelspec=spec.name,
            env=wanted.env,
            origin="v1",
            culling=wanted.culling,
            name=wanted.name,
            labels=wanted.labels,
            mem_limit_mb=wanted.mem_limit_mb,
            cpu_limit=wanted.cpu_limit,
            workspace_id=wanted.workspace_id,
        )


class SessionHandler(V1Handler):
    """``GET`` and ``DELETE /v1/sessions/{id}``."""

    def get(self, session_id: str) -> None:
        self.write_json(self.services.sessions.info(session_id, self.owner))

    def delete(self, session_id: str) -> None:
        self.services.sessions.end(session_id, "a client destroyed it", self.owner)
        self.write_json({"ok": True})


class SessionStatsHandler(V1Handler):
    """``GET /v1/sessions/{id}/stats``."""

    async def get(self, session_id: str) -> None:
        self.write_json(await self.services.sessions.stats(session_id, self.owner))
