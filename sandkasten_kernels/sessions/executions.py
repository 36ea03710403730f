"""Executions: runs the jobs of ``/v1``, one after the other in each session, within limits."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from ..background import BackgroundTasks
from ..errors import NoCapacity
from ..execution import Job, Outcome, Sink, TimedSink, run
from ..telemetry import Metrics
from .session import Session

__all__ = ["Executions"]


class Executions:
    """Runs jobs in sessions: in each session one command and one cell at a time, in the order of their requests.

    Parameters
    ----------
    max_concurrent: limit of jobs in all sessions together, waiting ones included; may be changed at any time.
    max_timeout_ms: limit of a job's time, in milliseconds; may be changed at any time.
    tasks: runs what is left to do of a job that its client has given up.

    Attributes
    ----------
    under_way: how many jobs run or wait now.
    """

    def __init__(
        self, *, max_concurrent: int, max_timeout_ms: int, tasks: BackgroundTasks, metrics: Metrics | None = None
    ) -> None:
        self.max_concurrent = max_concurrent
        self.max_timeout_ms = max_timeout_ms
        self.under_way = 0
        self._metrics = metrics or Metrics()
        self._tasks = tasks

    async def cleanup(self) -> None:
        """Stop withdrawing jobs; a second call does nothing."""
        await self._tasks.cleanup()

    async def run(self, session: Session, job: Job, sink: Sink) -> Outcome:
        """Run a job when its turn comes and return its outcome, as `execution.run` does. The session is in use then.

        Raises `NoCapacity` above the limit of all sessions, `TooMany` above that of one, and what `execution.run` does.
        """
        if self.under_way >= self.max_concurrent:
            message = f"{self.under_way} executions are under way, which is limits.max_concurrent_execs: try again"
            raise NoCapacity(message, retry_after=1)
        self.under_way += 1
        # before the lock: the culler spares a session whose job waits
        session.executions += 1
        session.first_result.start()
        self._metrics.executions.labels("command" if job.in_shell else "code").inc()
        try:
            async with session.locks["cmd" if job.in_shell else "code"].hold():
                outcome = await run(session.kernel, job, TimedSink(sink, session.first_result), self._withdraw)
        finally:
            session.first_result.stop()
            self.under_way -= 1
            session.executions -= 1
            session.use()
        return session.after(outcome, in_shell=job.in_shell)

    def _withdraw(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.run("withdrawal of an execution", work)
