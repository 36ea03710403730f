"""Executions: what runs over ``/v1``, in turn and within its limits."""

from __future__ import annotations

from .errors import NoCapacity
from .execution import Job, Outcome, Sink, run
from .session import Session

__all__ = ["Executions"]


class Executions:
    """Runs jobs in sessions: in each session one command and one cell at a time, in the order in which they came.

    Parameters
    ----------
    max_concurrent: how many there may be at once in all sessions, those that wait counted.
    max_timeout_ms: how long a job may take at most, in milliseconds.
    display_limit: bytes of one display of a cell's.
    """

    def __init__(self, *, max_concurrent: int, max_timeout_ms: int, display_limit: int) -> None:
        self.max_timeout_ms = max_timeout_ms
        self._max_concurrent = max_concurrent
        self._display_limit = display_limit
        self._under_way = 0

    async def run(self, session: Session, job: Job, sink: Sink) -> Outcome:
        """Run a job in its turn, as `execution.run` does; the session is in use meanwhile.

        Raises `NoCapacity` above the limit of all sessions, `TooMany` above that of one, and what `execution.run` does.
        """
        if self._under_way >= self._max_concurrent:
            words = f"{self._under_way} executions are under way, which is limits.max_concurrent_execs: try again"
            raise NoCapacity(words, retry_after=1)
        self._under_way += 1
        session.executions += 1
        try:
            async with session.turns["cmd" if job.in_shell else "code"].turn():
                outcome = await run(session.kernel, job, sink, display_limit=self._display_limit)
        finally:
            self._under_way -= 1
            session.executions -= 1
            session.use()
        return session.after(outcome, in_shell=job.in_shell)
