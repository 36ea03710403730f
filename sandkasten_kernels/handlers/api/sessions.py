"""``/api/sessions``: notebooks and the kernels that they use, for Jupyter clients."""

from __future__ import annotations

import asyncio

from ..base import Handler

__all__ = ["NotebookSessionHandler", "NotebookSessionsHandler"]


class NotebookSessionsHandler(Handler):
    """``GET`` and ``POST /api/sessions``."""

    def get(self) -> None:
        self.write_json(self.services.notebooks.models(self.owner))

    async def post(self) -> None:
        body = self.json_body()
        try:
            session, is_new = await self.unless_gone(self.services.notebooks.open(body, self.owner))
        except asyncio.CancelledError:
            return  # the client left, and nothing was created
        # the cancel came too late: the session exists, and nobody knows its id
        if self._gone and is_new:
            self.services.notebooks.end(session.id, "its client left before it had the answer", self.owner)
            return
        self.set_header("Location", self.url(f"/api/sessions/{session.id}"))
        # 201 also for one that exists, as jupyter_server answers
        self.write_json(session.model(), status=201)


class NotebookSessionHandler(Handler):
    """``GET``, ``PATCH`` and ``DELETE /api/sessions/{id}``."""

    def get(self, session_id: str) -> None:
        self.write_json(self.services.notebooks.get(session_id, self.owner).model())

    async def patch(self, session_id: str) -> None:
        session = await self.services.notebooks.change(session_id, self.json_body(), self.owner)
        self.write_json(session.model())

    def delete(self, session_id: str) -> None:
        self.services.notebooks.end(session_id, "a client ended its notebook session", self.owner)
        self.set_status(204)
