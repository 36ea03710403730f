"""``POST /v1/sessions/{id}/exec`` and ``exec/stream``: run a command or code."""

from __future__ import annotations

import asyncio

from ...execution import Collector
from .base import V1Handler
from .parameters import exec_request
from .sse import EventStream

__all__ = ["ExecHandler", "ExecStreamHandler"]


class ExecHandler(V1Handler):
    """``POST /v1/sessions/{id}/exec``: answers when the job has ended.

    The job is interrupted when the client disconnects.
    """

    async def post(self, session_id: str) -> None:
        session = self.services.sessions.running(session_id, self.owner)
        job = exec_request(self.json_body(), max_timeout_ms=self.services.executions.max_timeout_ms)
        sink = Collector(self.services.limits.max_output_bytes, code=not job.in_shell)
        try:
            outcome = await self.run(session, job, sink)
        except asyncio.CancelledError:
            return
        if not self._gone:
            self.write_text(sink.result(outcome))


class ExecStreamHandler(V1Handler):
    """``POST /v1/sessions/{id}/exec/stream``: sends server-sent events while the job runs.

    The job is interrupted when the client disconnects.
    """

    async def post(self, session_id: str) -> None:
        session = self.services.sessions.running(session_id, self.owner)
        job = exec_request(self.json_body(), max_timeout_ms=self.services.executions.max_timeout_ms)
        async with EventStream(self) as events:
            try:
                outcome = await self.run(session, job, events)
            except asyncio.CancelledError:
                return
            events.done(outcome, code=not job.in_shell)
