"""``/v1/sessions/{id}/interrupt``, ``restart`` and ``extend``: what is done to a session besides running something."""

from __future__ import annotations

from .base import V1Handler
from .parameters import extension

__all__ = ["ExtendHandler", "InterruptHandler", "RestartHandler"]


class InterruptHandler(V1Handler):
    """``POST /v1/sessions/{id}/interrupt``: what runs in the shell and in the kernel gets SIGINT."""

    async def post(self, session_id: str) -> None:
        kernel = self.services.sessions.running(session_id, self.owner).kernel
        if not kernel.spec.in_guest:
            await kernel.interrupts.interrupt_shell()
        await kernel.interrupt()
        self.write_json({"ok": True})


class RestartHandler(V1Handler):
    """``POST /v1/sessions/{id}/restart``: answered when the new kernel is ready."""

    async def post(self, session_id: str) -> None:
        await self.services.sessions.running(session_id, self.owner).kernel.restart()
        self.write_json(self.services.sessions.info(session_id, self.owner))


class ExtendHandler(V1Handler):
    """``POST /v1/sessions/{id}/extend``: the session's life is renewed, and may be given another length."""

    def post(self, session_id: str) -> None:
        self.services.sessions.extend(session_id, extension(self.json_body()), self.owner)
        self.write_json(self.services.sessions.info(session_id, self.owner))
