"""What the handlers of ``/v1`` share: the status of a limit, and running a job for one request."""

from __future__ import annotations

from ...errors import KernelDead, LimitReached, SandboxFailed, SandkastenError
from ...execution import Job, Outcome, Sink
from ...sessions import Session
from ..base import Handler

__all__ = ["V1Handler"]


class V1Handler(Handler):
    """A handler of ``/v1``, which answers 429 when an owner is at a limit.

    ``of_workspace``: the id in the path is a workspace's, not a session's.
    """

    of_workspace = False

    def status_of(self, error: SandkastenError) -> int:
        return 429 if isinstance(error, LimitReached) else super().status_of(error)

    async def run(self, session: Session, job: Job, sink: Sink) -> Outcome:
        """Run a job in a session and return its outcome. The job stops when the client disconnects.

        Raises the errors of `Executions.run`, and `SessionEnded` when the session ended meanwhile.
        """
        try:
            return await self.unless_gone(self.services.executions.run(session, job, sink))
        except (SandboxFailed, KernelDead):
            # `running` raises `SessionEnded` for a session that ended meanwhile: the better error
            self.services.sessions.running(session.id, self.owner)
            raise
