"""``/v1``: sessions and what runs in them, for REST clients."""

from __future__ import annotations

import asyncio

from ...errors import InvalidImage, KernelDead, LimitReached, SandboxFailed, SandkastenError
from ...execution.collector import Collector
from ...execution.outcome import Outcome
from ...execution.runner import Job, Sink
from ...sessions.request import SessionRequest
from ...sessions.session import Session as LiveSession
from ..base import Handler
from .parameters import SessionBody, exec_request, label_filter
from .sse import EventStream

__all__ = ["ExecHandler", "ExecStreamHandler", "SessionHandler", "SessionStatsHandler", "SessionsHandler", "V1Handler"]


class V1Handler(Handler):
    """A handler of ``/v1``, where an owner's limit is told as 429.

    ``of_workspace``: whether the id in its path is a workspace's, not a session's.
    """

    of_workspace = False

    def status_of(self, error: SandkastenError) -> int:
        return 429 if isinstance(error, LimitReached) else super().status_of(error)

    async def run(self, session: LiveSession, job: Job, sink: Sink) -> Outcome:
        """Return how a job ended; it is stopped when the client goes away. Raises `SessionEnded` for that, too."""
        try:
            return await self.unless_gone(self.services.executions.run(session, job, sink))
        except (SandboxFailed, KernelDead):
            self.services.sessions.running(session.id, self.owner)  # where it has ended meanwhile, that is the error
            raise


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


class ExecHandler(V1Handler):
    """``POST /v1/sessions/{id}/exec``: answered when it has ended. A client that goes away interrupts it."""

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
    """``POST /v1/sessions/{id}/exec/stream``: events while it runs. A client that goes away interrupts it."""

    async def post(self, session_id: str) -> None:
        session = self.services.sessions.running(session_id, self.owner)
        job = exec_request(self.json_body(), max_timeout_ms=self.services.executions.max_timeout_ms)
        async with EventStream(self) as events:
            try:
                outcome = await self.run(session, job, events)
            except asyncio.CancelledError:
                return
            events.done(outcome, code=not job.in_shell)
