"""Restarts: which kernels are started again after they died by themselves, and the background work of that."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from ..background import BackgroundTasks

__all__ = ["MAX_DEATHS", "RestartLimiter", "Restarts"]

MAX_DEATHS, DEATHS_WITHIN_SECONDS = 5, 60.0


class RestartLimiter:
    """Counts the deaths of a kernel. A kernel that keeps dying is not started again; without I/O."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=MAX_DEATHS)

    def again(self, now: float) -> bool:
        """Count a death; return whether a new process may be started.

        That is not so when `MAX_DEATHS` deaths came before it within `DEATHS_WITHIN_SECONDS`. ``now``: seconds of any
        clock that only goes forward.
        """
        # A full queue has dropped older deaths: its first entry is the MAX_DEATHS-th before this one.
        allowed = len(self._times) < MAX_DEATHS or now - self._times[0] > DEATHS_WITHIN_SECONDS
        self._times.append(now)
        return allowed


class Restarts:
    """Runs the restart of a kernel that died, one at a time.

    Parameters
    ----------
    on_failed: called with the reason, in words, when a restart was cancelled or raised an unexpected exception.
    """

    def __init__(self, on_failed: Callable[[str], None], tasks: BackgroundTasks) -> None:
        self._on_failed = on_failed
        self._tasks = tasks
        self._limiter = RestartLimiter()
        self._task: asyncio.Task[None] | None = None

    @property
    def under_way(self) -> bool:
        """Whether a restart runs."""
        return self._task is not None

    def refused(self) -> bool:
        """Count a death at this instant; return whether the kernel has died too often to be started again."""
        return not self._limiter.again(asyncio.get_running_loop().time())

    def begin(self, restart: Coroutine[Any, Any, None]) -> None:
        """Run ``restart``; call it only while none is `under_way`."""
        self._task = self._tasks.run("restart of a kernel that died", restart)
        self._task.add_done_callback(self._done)

    def close(self) -> None:
        """Cancel a restart that runs; a second call does nothing."""
        if self._task:
            self._task.cancel()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled():
            self._on_failed("it was not started again")
        elif task.exception():  # BackgroundTasks has logged it
            self._on_failed("it could not be started again")
