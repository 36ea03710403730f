"""``/v1/sessions/{id}/interrupt``, ``restart`` and ``extend``."""

from __future__ import annotations

from ...sessions import info
from .base import V1Handler
from .parameters import extension

__all__ = ["ExtendHandler", "InterruptHandler", "RestartHandler"]


class InterruptHandler(V1Handler):
    """``POST /v1/sessions/{id}/interrupt``: send SIGINT to the shell's command and to the kernel."""

    async def post(self, session_id: str) -> None:
        kernel = self.services.sessions.running(session_id, self.owner).kernel
        if not kernel.spec.in_guest:
            await kernel.interrupts.interrupt_shell()
        await kernel.interrupt()
        self.write_json({"ok": True})


class RestartHandler(V1Handler):
    """``POST /v1/sessions/{id}/restart``: restarts the kernel, and answers when it is ready."""

    async def post(self, session_id: str) -> None:
        await self.services.sessions.running(session_id, self.owner).kernel.restart()
        self.write_json(info(*self.services.sessions.find(session_id, self.owner)))


class ExtendHandler(V1Handler):
    """``POST /v1/sessions/{id}/extend``: begin the session's ttl again, and change it if the body says so."""

    def post(self, session_id: str) -> None:
        self.services.sessions.extend(session_id, extension(self.json_body()), self.owner)
        self.write_json(info(*self.services.sessions.find(session_id, self.owner)))
