"""``GET /v1/sessions/{id}/watch``: the commands and outputs of a session's shell, of all clients."""

from __future__ import annotations

import asyncio

from ...errors import SessionEnded
from ...execution import is_too_much
from ...protocol import Parts, json_object, message_type
from ...relay import KernelLink, LinkError
from ...sessions import Session
from .base import V1Handler
from .sse import EventStream

__all__ = ["WatchHandler"]

CHECK_SECONDS = 5.0
MAX_CODE_BYTES, MAX_STREAM_BYTES = 2 * 1024 * 1024, 8 * 1024 * 1024


class WatchHandler(V1Handler):
    """Server-sent events: ``begin`` with ``id cmd``, ``chunk`` with ``id stream chunk``, and ``end`` with ``id``.

    Watching does not count as a use of the session. The answer ends with the session.
    """

    async def get(self, session_id: str) -> None:
        session = self.services.sessions.get(session_id, self.owner)
        if session.crashed:
            raise SessionEnded(f"this session has ended (crashed): {session.kernel.reason}")
        async with EventStream(self) as events:
            events.send("open", {"time": session.created.timestamp()})
            try:
                await self.unless_gone(self._watch(session, _Watcher(events)))
            except asyncio.CancelledError:
                return

    async def _watch(self, session: Session, watcher: _Watcher) -> None:
        link: KernelLink | None = None
        try:
            while session.id in self.services.sessions and not session.crashed:
                try:
                    now = await session.kernel.shell()
                except LinkError:
                    now = None  # bash is being restarted, or the session has ended
                if now is not link:
                    if link:
                        link.detach(watcher)
                    if now:
                        now.attach(watcher)
                    link = now
                await asyncio.sleep(CHECK_SECONDS)
                if not self.services.authenticator.caller(self.request):
                    return
        finally:
            if link:
                link.detach(watcher)


class _Watcher:
    """A client of the shell's link that only listens."""

    # the culler must not take a watcher for a connected client
    present = False

    def __init__(self, events: EventStream) -> None:
        self._events = events

    def deliver(self, channel: str, parts: Parts) -> None:
        """Send the events of a command to the watcher."""
        if channel != "iopub" or not (name := json_object(parts[1]).get("msg_id")):
            return
        kind = message_type(parts)
        if kind == "execute_input":
            self._events.send("begin", {"id": name, "cmd": str(json_object(parts[3], MAX_CODE_BYTES).get("code", ""))})
        elif kind == "stream" and not is_too_much(parts[3]):
            content = json_object(parts[3], MAX_STREAM_BYTES)
            stream = "stderr" if content.get("name") == "stderr" else "stdout"
            self._events.send("chunk", {"id": name, "stream": stream, "chunk": str(content.get("text", ""))})
        elif kind == "status" and json_object(parts[3]).get("execution_state") == "idle":
            self._events.send("end", {"id": name})

    def end(self, reason: str) -> None:
        """No-op: the next check of `WatchHandler` finds a new link, or the end of the session."""
