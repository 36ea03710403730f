"""QuotaMonitor: stops sessions that fill a workspace beyond its quota."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict

from ..background import BackgroundTasks
from ..engines import Engine
from ..errors import SandkastenError
from .session import Session
from .sessions import Sessions

__all__ = ["QuotaMonitor"]

MIN_PAUSE_SECONDS, PAUSE_FACTOR, MAX_STOPS = 2.0, 10, 5
"""The pause after a round is 10 times as long as the round, because counting files is work for the disk too."""


class QuotaMonitor:
    """Measures the workspaces in use, round after round. A sandbox could flood any event source that would replace it.

    In a workspace that is above the quota and grows, the monitor stops what runs and writes the reason to its stderr.
    It ends the workspace's sessions if the workspace grows on while nothing runs that could be stopped (a background
    job does that), or after `MAX_STOPS` stops.

    Parameters
    ----------
    limit_mb: the quota of each workspace in MiB; may be changed at any time.
    """

    def __init__(
        self, sessions: Sessions, engine: Engine, limit_mb: int, log: logging.Logger, tasks: BackgroundTasks
    ) -> None:
        self._sessions = sessions
        self._engine = engine
        self.limit_mb = limit_mb
        self._log = log
        self._tasks = tasks
        self._above: dict[str, tuple[int, int]] = {}

    def setup(self) -> None:
        """Begin to measure; a round that fails unexpectedly does not end it."""
        self._tasks.keep("quota monitor", self._watch)

    async def cleanup(self) -> None:
        """Stop measuring; a second call does nothing."""
        await self._tasks.cleanup()

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
                    await self._check(name, sessions)
                except SandkastenError as error:
                    self._log.warning("workspace %s cannot be measured: %s", name, error.message)
            await asyncio.sleep(max(MIN_PAUSE_SECONDS, PAUSE_FACTOR * (time.monotonic() - began)))

    async def _check(self, name: str, sessions: list[Session]) -> None:
        size, _ = await self._engine.workspace_size(name)
        before, stops = self._above.pop(name, (0, 0))
        if size <= self.limit_mb * 2**20:
            return
        self._above[name] = size, stops
        if size <= before:
            return  # above the quota, but not growing: its user may be removing files just now
        self._above[name] = size, stops + 1
        message = (
            f"The workspace has {size // 2**20} MiB on the disk, limits.workspace_mb is {self.limit_mb}: what "
            "runs is stopped. Remove files that are not needed."
        )
        self._log.warning("workspace %s is above limits.workspace_mb, with %d MiB", name, size // 2**20)
        stopped = [await session.kernel.stop(message) for session in sessions]
        if (before and not any(stopped)) or stops >= MAX_STOPS:
            for session in sessions:
                # it may have ended while another one was stopped
                if session in tuple(self._sessions):
                    reason = "its workspace grew on above limits.workspace_mb, whatever was stopped"
                    self._sessions.end(session.id, reason, session.record.owner)
