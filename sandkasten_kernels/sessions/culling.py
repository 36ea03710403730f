"""Culling: sessions whose time is over are ended, by one heap of times and one timer; nothing is ever searched."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Generic, TypeVar

from .lifetime import FOR_EVER
from .session import Session

__all__ = ["Deadlines", "SessionCuller"]

T = TypeVar("T")
LEAST_WAIT_SECONDS, MOST_WAIT_SECONDS = 0.05, 3600.0
SLACK = 16


class Deadlines(Generic[T]):
    """When which item is due: a heap, without I/O.

    Invariants: an item has one time at most; the heap has never more than twice as many entries as there are items,
    and `SLACK`, so that what was taken out long before its time does not stay.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._items: dict[int, T] = {}
        self._numbers: dict[T, int] = {}
        self._count = itertools.count()

    def __len__(self) -> int:
        return len(self._items)

    def set(self, item: T, when: float) -> None:
        """Let an item be due at a time, instead of the one it had."""
        self.discard(item)
        number = next(self._count)
        self._items[number], self._numbers[item] = item, number
        heapq.heappush(self._heap, (when, number))

    def discard(self, item: T) -> None:
        """Take an item out; no-op for one that is not there."""
        if (number := self._numbers.pop(item, None)) is not None:
            del self._items[number]
        if len(self._heap) > 2 * len(self._items) + SLACK:
            self._heap = [entry for entry in self._heap if entry[1] in self._items]
            heapq.heapify(self._heap)

    def first(self) -> float | None:
        """Return when the next item is due; None when there is none."""
        while self._heap and self._heap[0][1] not in self._items:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[T]:
        """Take out and return the items whose time has come, those first that have waited longest."""
        found = []
        while (when := self.first()) is not None and when <= now:
            _, number = heapq.heappop(self._heap)
            item = self._items.pop(number)
            del self._numbers[item]
            found.append(item)
        return found


class SessionCuller:
    """Ends sessions when their time is over.

    Using a session only makes its time later, which is found out when the time comes that was thought of before; so a
    use costs nothing here. `watch` is called again for what makes it earlier.

    Parameters
    ----------
    end: ends a session, with the reason in words.
    """

    def __init__(self, end: Callable[[Session, str], None]) -> None:
        self._end = end
        self._deadlines: Deadlines[Session] = Deadlines()
        self._timer: asyncio.TimerHandle | None = None

    def cleanup(self) -> None:
        """End no more sessions; a second call does nothing."""
        if self._timer:
            self._timer.cancel()

    def watch(self, session: Session) -> None:
        """End the session when its time is over, as far as that is known now."""
        self._put(session)
        self._arm()

    def forget(self, session: Session) -> None:
        """Leave a session alone; no-op for one that is not watched."""
        self._deadlines.discard(session)

    def _put(self, session: Session) -> None:
        if (when := session.expires_at) < FOR_EVER:
            self._deadlines.set(session, when.timestamp())
        else:
            self._deadlines.discard(session)

    def _arm(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if (when := self._deadlines.first()) is not None:
            wait = min(max(LEAST_WAIT_SECONDS, when - time.time()), MOST_WAIT_SECONDS)  # clocks are set, now and then
            self._timer = asyncio.get_running_loop().call_later(wait, self._look)

    def _look(self) -> None:
        now = datetime.now(UTC)
        try:
            for session in self._deadlines.due(now.timestamp()):
                if session.expires_at <= now:
                    self._end(session, session.overdue_reason(now))
                else:
                    self._put(session)
        finally:
            self._arm()
