"""StatusFeed: one snapshot of the gateway each second, made once for all viewers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import cached_property
from typing import Any, NamedTuple

from ..background import BackgroundTasks
from ..telemetry import STEP_SECONDS, Activity

__all__ = ["StatusFeed", "Update"]

SECONDS = 1.0


class Update(NamedTuple):
    """One message to a viewer.

    Attributes
    ----------
    event: ``status`` for everything, ``change`` for the differences to the update before, or ``session`` for one
        session.
    data: JSON.
    """

    event: str
    data: str


class _Snapshot:
    """One snapshot and its differences to the one before; each becomes JSON at most once."""

    def __init__(self, number: int, content: dict[str, Any], before: _Snapshot | None, activity: Activity) -> None:
        self.number = number
        self.content = content
        self.rows: dict[str, Any] = {row["id"]: row for row in content["sessions"]}
        self._before_rows = before.rows if before else {}
        self._activity = activity

    @cached_property
    def whole(self) -> str:
        """Everything, with the history of the last hour."""
        history = {"step": STEP_SECONDS, "columns": self._activity.columns, "rows": self._activity.history()}
        return json.dumps({**self.content, "history": history}, separators=(",", ":"))

    @cached_property
    def change(self) -> str:
        """The same with only the sessions that changed, the ids of those that are ``gone``, and the last two rows."""
        before = self._before_rows
        changed = [row for key, row in self.rows.items() if before.get(key) != row]
        gone = [key for key in before if key not in self.rows]
        last = {"rows": self._activity.history(2)}
        content = {**self.content, "sessions": changed, "gone": gone, "history": last}
        return json.dumps(content, separators=(",", ":"))

    def of_session(self, session_id: str) -> str:
        """Return ``time`` and the one session, which is null unless it runs."""
        return json.dumps({"time": self.content["time"], "session": self.rows.get(session_id)}, separators=(",", ":"))


class StatusFeed:
    """Takes a snapshot each second while there are viewers, and otherwise one for each step of the history.

    Parameters
    ----------
    take: returns a snapshot; its ``sessions`` are objects with an ``id``.
    activity: the source of the history.

    Attributes
    ----------
    viewers: how many there are now.
    """

    def __init__(
        self, take: Callable[[], Awaitable[Mapping[str, Any]]], activity: Activity, tasks: BackgroundTasks
    ) -> None:
        self.activity = activity
        self._take = take
        self._tasks = tasks
        self.viewers = 0
        self._wanted = asyncio.Event()
        self._taken = asyncio.Condition()
        self._snapshot: _Snapshot | None = None
        self._runs = False

    def setup(self) -> None:
        """Begin to take snapshots; one that fails unexpectedly does not end it."""
        self._runs = True
        self._tasks.keep("status feed", self._run)

    async def cleanup(self) -> None:
        """Stop; every viewer's updates end. A second call does nothing."""
        self._runs = False
        await self._tasks.cleanup()
        async with self._taken:
            self._taken.notify_all()

    async def now(self, session_id: str = "") -> str:
        """Return the first of `updates`, at most a second old, as JSON."""
        async with aclosing(self.updates(session_id)) as updates:
            return (await anext(updates)).data

    async def updates(self, session_id: str = "") -> AsyncGenerator[Update]:
        """Yield everything, at once if it is fresh, and then the changes; with ``session_id`` that session only.

        A viewer that is slower than the snapshots misses some, and gets everything again instead.
        """
        # without viewers the last snapshot may be as old as a step of the history: wait for the next
        too_old = self._snapshot.number if self._snapshot and not self.viewers else 0
        sent = 0
        self.viewers += 1
        self._wanted.set()
        try:
            while snapshot := await self._newer_than(sent or too_old):
                if session_id:
                    yield Update("session", snapshot.of_session(session_id))
                elif sent and snapshot.number == sent + 1:
                    yield Update("change", snapshot.change)
                else:
                    yield Update("status", snapshot.whole)
                sent = snapshot.number
        finally:
            self.viewers -= 1
            if not self.viewers:
                self._wanted.clear()

    async def _newer_than(self, number: int) -> _Snapshot | None:
        """Return a snapshot with a greater number; None if there will be none."""
        async with self._taken:
            while self._runs:
                if self._snapshot and self._snapshot.number > number:
                    return self._snapshot
                await self._taken.wait()
        return None

    async def _run(self) -> None:
        while True:
            content = dict(await self._take())
            number = self._snapshot.number + 1 if self._snapshot else 1
            self._snapshot = _Snapshot(number, content, self._snapshot, self.activity)
            async with self._taken:
                self._taken.notify_all()
            if self._wanted.is_set():
                await asyncio.sleep(SECONDS)
            else:
                try:
                    # the first viewer ends the pause
                    await asyncio.wait_for(self._wanted.wait(), STEP_SECONDS)
                except TimeoutError:
                    continue
