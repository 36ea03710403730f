"""BackgroundTasks: an owner for every task that nobody awaits where it starts."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["BackgroundTasks"]

T = TypeVar("T")

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 60.0


class BackgroundTasks:
    """Runs coroutines in the background, logs those that fail, and cancels what is left in `cleanup`.

    No other module starts a task, so no unexpected exception is lost and no task outlives its owner.

    Parameters
    ----------
    log: gets each failure with the task's name and the traceback.
    failures: how often each task failed, by name; the groups of one gateway share it, and ``/metrics`` shows it.
    """

    def __init__(self, log: logging.Logger, failures: Counter[str] | None = None) -> None:
        self.failures: Counter[str] = Counter() if failures is None else failures
        self._log = log
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def __repr__(self) -> str:
        names = ", ".join(sorted(task.get_name() for task in self._tasks))
        return f"<BackgroundTasks {names or 'idle'}>"

    def group(self) -> BackgroundTasks:
        """Return tasks with an end of their own: the same log and the same counts, another `cleanup`."""
        return BackgroundTasks(self._log, self.failures)

    def run(self, name: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a coroutine that ends by itself, and return its task.

        Parameters
        ----------
        name: what the task is for, as the log and the metrics show it; one of few, never with an id in it.
        """
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def awaited(self, name: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a coroutine that its caller awaits: a failure is the caller's, and is neither logged nor counted here.

        `cleanup` cancels it as any other.
        """
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def keep(self, name: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Start a coroutine that must go on, and start it again whenever it fails.

        The pause before a restart grows from 1 to 60 s, and shrinks back once a run has lasted longer than that. A
        coroutine that returns has ended and is not started again.
        """
        return self.run(name, self._go_on(name, work))

    async def cleanup(self) -> None:
        """Return when every task has ended; those that still run are cancelled. A second call does nothing."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _go_on(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        pause = FIRST_PAUSE_SECONDS
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            try:
                await work()
            except Exception:  # noqa: BLE001  # whatever it is: the work must go on, and the log has the traceback
                if clock() - began > MAX_PAUSE_SECONDS:
                    pause = FIRST_PAUSE_SECONDS
                self._log.exception("the background task %r failed and starts again in %.0f s", name, pause)
                self.failures[name] += 1
                await asyncio.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE_SECONDS)
            else:
                return

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self.failures[task.get_name()] += 1
            self._log.error("the background task %r failed", task.get_name(), exc_info=error)
