"""DiskWatch: stops what fills a workspace beyond its limit."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict

from ..engines import Engine
from ..errors import SandkastenError
from .session import Session
from .sessions import Sessions

__all__ = ["QuotaMonitor"]

LEAST_SECONDS, REST, MAX_TIMES = 2.0, 10, 5
"""Between two rounds, and how many times longer than a round itself: counting files is work for the disk too."""


class QuotaMonitor:
    """Measures the workspaces in use, again and again. There is no event for it that a sandbox could not drown.

    In one that is above the limit and grows, what runs is stopped with the reason in its output. Where it grows on with
    nothing left to stop, in the background for instance, or again and again, its sessions are ended.
    """

    def __init__(self, sessions: Sessions, engine: Engine, limit_mb: int, log: logging.Logger) -> None:
        self._sessions = sessions
        self._engine = engine
        self.limit_mb = limit_mb
        self._log = log
        self._above: dict[str, tuple[int, int]] = {}
        self._task: asyncio.Task[None] | None = None

    def setup(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._watch())

    async def cleanup(self) -> None:
        """Stop; a second call does nothing."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            began = time.monotonic()
            users: dict[str, list[Session]] = defaultdict(list)
            for session in self._sessions:
                if not session.crashed and (
                    name := self._engine.stored_in(session.kernel.sandbox, session.record.workspace_id)
                ):
                    users[name].append(session)
            self._above = {name: seen for name, seen in self._above.items() if name in users}
            for name, sessions in users.items():
                try:
                    await self._look_at(name, sessions)
                except SandkastenError as error:
                    self._log.warning("workspace %s cannot be watched: %s", name, error.message)
            await asyncio.sleep(max(LEAST_SECONDS, REST * (time.monotonic() - began)))

    async def _look_at(self, name: str, sessions: list[Session]) -> None:
        size, _ = await self._engine.workspace_size(name)
        before, times = self._above.pop(name, (0, 0))
        if size <= self.limit_mb * 2**20:
            return
        self._above[name] = size, times
        if size <= before:
            return  # it grows no more
        self._above[name] = size, times + 1
        words = (
            f"The workspace has {size // 2**20} MiB on the disk, limits.workspace_mb is {self.limit_mb}: what "
            "runs is stopped. Remove files that are not needed."
        )
        self._log.warning("workspace %s is above limits.workspace_mb, with %d MiB", name, size // 2**20)
        stopped = [await session.kernel.stop(words) for session in sessions]
        if (before and not any(stopped)) or times >= MAX_TIMES:
            for session in sessions:
                if session in tuple(self._sessions):
                    reason = "its workspace grew on above limits.workspace_mb, whatever was stopped"
                    self._sessions.end(session.id, reason, session.record.owner)
