"""Executions: what runs over ``/v1``, in turn and within its limits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from ..errors import NoCapacity
from ..execution.first_result import Heard
from ..execution.outcome import Outcome
from ..execution.runner import Job, Sink, run
from ..telemetry.metrics import Metrics
from .session import Session

__all__ = ["Executions"]


class Executions:
    """Runs jobs in sessions: in each session one command and one cell at a time, in the order in which they came.

    Parameters
    ----------
    max_concurrent: how many there may be at once in all sessions, those that wait counted; may be changed.
    max_timeout_ms: how long a job may take at most, in milliseconds.
    """

    def __init__(
        self, *, max_concurrent: int, max_timeout_ms: int, log: logging.Logger, metrics: Metrics | None = None
    ) -> None:
        self.max_concurrent = max_concurrent
        self.max_timeout_ms = max_timeout_ms
        self.under_way = 0
        self._metrics = metrics or Metrics()
        self._log = log
        self._tidying: set[asyncio.Task[None]] = set()

    async def cleanup(self) -> None:
        """Give up what is still being withdrawn; no-op when there is nothing."""
        for task in self._tidying:
            task.cancel()
        await asyncio.gather(*self._tidying, return_exceptions=True)

    async def run(self, session: Session, job: Job, sink: Sink) -> Outcome:
        """Run a job in its turn, as `execution.run` does; the session is in use meanwhile.

        Raises `NoCapacity` above the limit of all sessions, `TooMany` above that of one, and what `execution.run` does.
        """
        if self.under_way >= self.max_concurrent:
            words = f"{self.under_way} executions are under way, which is limits.max_concurrent_execs: try again"
            raise NoCapacity(words, retry_after=1)
        self.under_way += 1
        session.executions += 1
        session.first_result.asked()
        self._metrics.executions.labels("command" if job.in_shell else "code").inc()
        try:
            async with session.locks["cmd" if job.in_shell else "code"].hold():
                outcome = await run(session.kernel, job, Heard(sink, session.first_result), self._tidy)
        finally:
            session.first_result.given()
            self.under_way -= 1
            session.executions -= 1
            session.use()
        return session.after(outcome, in_shell=job.in_shell)

    def _tidy(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tidying.add(task)
        task.add_done_callback(self._tidied)

    def _tidied(self, task: asyncio.Task[None]) -> None:
        self._tidying.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._log.error("an execution could not be withdrawn", exc_info=error)
