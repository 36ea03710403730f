"""Culling: ends expired sessions with one heap of deadlines and one timer; it never searches all sessions."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Generic, TypeVar

from .lifetime import FOR_EVER
from .session import Session

__all__ = ["Deadlines", "SessionCuller"]

T = TypeVar("T")
MIN_WAIT_SECONDS, MAX_WAIT_SECONDS = 0.05, 3600.0
SLACK = 16


class Deadlines(Generic[T]):
    """The deadlines of items, in a heap. Pure, without I/O.

    Invariants: an item has at most one deadline; the heap has at most twice as many entries as there are items, plus
    `SLACK`, so that entries of discarded items do not pile up.
    """

    def __init__(self) -> None:
        # numbers in the heap: sessions with equal deadlines cannot be compared
        self._heap: list[tuple[float, int]] = []
        self._items: dict[int, T] = {}
        self._numbers: dict[T, int] = {}
        self._count = itertools.count()

    def __len__(self) -> int:
        return len(self._items)

    def set(self, item: T, when: float) -> None:
        """Set an item's deadline; it replaces an earlier one."""
        self.discard(item)
        number = next(self._count)
        self._items[number], self._numbers[item] = item, number
        heapq.heappush(self._heap, (when, number))

    def discard(self, item: T) -> None:
        """Remove an item; no-op for an unknown one."""
        if (number := self._numbers.pop(item, None)) is not None:
            del self._items[number]
        if len(self._heap) > 2 * len(self._items) + SLACK:
            self._heap = [entry for entry in self._heap if entry[1] in self._items]
            heapq.heapify(self._heap)

    def first(self) -> float | None:
        """Return the earliest deadline; None without items."""
        while self._heap and self._heap[0][1] not in self._items:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[T]:
        """Remove and return the items with a deadline up to ``now``, earliest first."""
        found = []
        while (when := self.first()) is not None and when <= now:
            _, number = heapq.heappop(self._heap)
            item = self._items.pop(number)
            del self._numbers[item]
            found.append(item)
        return found


class SessionCuller:
    """Ends sessions when they expire.

    The use of a session only moves its deadline to later. The culler notices that when the old deadline comes, so a use
    costs nothing here. Call `watch` again when a deadline may have become earlier.

    Parameters
    ----------
    end: ends a session, for a reason that its clients read.
    """

    def __init__(self, end: Callable[[Session, str], None]) -> None:
        self._end = end
        self._deadlines: Deadlines[Session] = Deadlines()
        self._timer: asyncio.TimerHandle | None = None

    def cleanup(self) -> None:
        """Stop ending sessions; a second call does nothing."""
        if self._timer:
            self._timer.cancel()

    def watch(self, session: Session) -> None:
        """End the session when it expires, by what is known now."""
        self._put(session)
        self._arm()

    def forget(self, session: Session) -> None:
        """Stop watching a session; no-op for one that is not watched."""
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
            # bounded, because somebody may set the clock
            wait = min(max(MIN_WAIT_SECONDS, when - time.time()), MAX_WAIT_SECONDS)
            self._timer = asyncio.get_running_loop().call_later(wait, self._look)

    def _look(self) -> None:
        now = datetime.now(UTC)
        due = deque(self._deadlines.due(now.timestamp()))
        try:
            while due:
                session = due.popleft()
                if session.expires_at <= now:
                    self._end(session, session.overdue_reason(now))
                else:
                    self._put(session)
        finally:
            for session in due:  # the rest, if ending one failed unexpectedly
                self._put(session)
            self._arm()
