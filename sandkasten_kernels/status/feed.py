"""StatusFeed: one picture of the gateway each second, made once, however many look."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import cached_property
from typing import Any, NamedTuple

from ..telemetry.activity import STEP_SECONDS, Activity

__all__ = ["StatusFeed", "Update"]

SECONDS = 1.0


class Update(NamedTuple):
    """What a viewer is sent: all there is (``status``), what has changed since the update before (``change``), or what
    there is to see of one session (``session``)."""

    event: str
    data: str


class _Picture:
    """One picture, and how it differs from the one before; each made into JSON at most once."""

    def __init__(self, number: int, content: dict[str, Any], before: _Picture | None, activity: Activity) -> None:
        self.number = number
        self.content = content
        self.rows: dict[str, Any] = {row["id"]: row for row in content["sessions"]}
        self._before_rows = before.rows if before else {}
        self._activity = activity

    @cached_property
    def whole(self) -> str:
        """All of it, with the last hour's history."""
        history = {"step": STEP_SECONDS, "columns": self._activity.columns, "rows": self._activity.history()}
        return json.dumps({**self.content, "history": history}, separators=(",", ":"))

    @cached_property
    def change(self) -> str:
        """The same with the sessions that have changed, the ids of those that are ``gone``, and the last rows."""
        before = self._before_rows
        changed = [row for key, row in self.rows.items() if before.get(key) != row]
        gone = [key for key in before if key not in self.rows]
        last = {"rows": self._activity.history(2)}
        content = {**self.content, "sessions": changed, "gone": gone, "history": last}
        return json.dumps(content, separators=(",", ":"))

    def of_session(self, session_id: str) -> str:
        """``time`` and the one session; null where it does not run."""
        return json.dumps({"time": self.content["time"], "session": self.rows.get(session_id)}, separators=(",", ":"))


class StatusFeed:
    """Takes pictures once a second while somebody looks, else once for each step of the history.

    Parameters
    ----------
    take: takes a picture, with ``sessions``, each with its ``id``.
    activity: what the history is of.

    Attributes
    ----------
    viewers: how many look now.
    """

    def __init__(self, take: Callable[[], Awaitable[dict[str, Any]]], activity: Activity, log: logging.Logger) -> None:
        self.activity = activity
        self._take = take
        self._log = log
        self.viewers = 0
        self._wanted = asyncio.Event()
        self._taken = asyncio.Condition()
        self._picture: _Picture | None = None
        self._task: asyncio.Task[None] | None = None

    def setup(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def cleanup(self) -> None:
        """Stop; every viewer's updates end. A second call does nothing."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            async with self._taken:
                self._taken.notify_all()

    async def now(self, session_id: str = "") -> str:
        """Return the first of `updates`, at most a second old, as JSON."""
        async with aclosing(self.updates(session_id)) as updates:
            return (await anext(updates)).data

    async def updates(self, session_id: str = "") -> AsyncGenerator[Update]:
        """Yield all there is, at once where it is fresh, and then what changes; or, asked for one session, that.

        A viewer that is slower than the pictures misses some, and gets all there is instead.
        """
        too_old = self._picture.number if self._picture and not self.viewers else 0
        sent = 0
        self.viewers += 1
        self._wanted.set()
        try:
            while picture := await self._newer_than(sent or too_old):
                if session_id:
                    yield Update("session", picture.of_session(session_id))
                elif sent and picture.number == sent + 1:
                    yield Update("change", picture.change)
                else:
                    yield Update("status", picture.whole)
                sent = picture.number
        finally:
            self.viewers -= 1
            if not self.viewers:
                self._wanted.clear()

    async def _newer_than(self, number: int) -> _Picture | None:
        """Return a picture that was taken after the one of this number; None when there will be none."""
        async with self._taken:
            while self._task is not None:
                if self._picture and self._picture.number > number:
                    return self._picture
                await self._taken.wait()
        return None

    async def _run(self) -> None:
        number = 0
        while True:
            number += 1
            await self._picture_of(number)
            if self._wanted.is_set():
                await asyncio.sleep(SECONDS)
            else:
                try:
                    await asyncio.wait_for(self._wanted.wait(), STEP_SECONDS)
                except TimeoutError:
                    continue

    async def _picture_of(self, number: int) -> None:
        try:
            content: Mapping[str, Any] = await self._take()
        except (OSError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError):
            self._log.exception("the status could not be put together; the next try is in a moment")
            return
        self._picture = _Picture(number, dict(content), self._picture, self.activity)
        async with self._taken:
            self._taken.notify_all()
