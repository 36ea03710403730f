"""BoundedLock: a lock with a limit on those that wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..errors import TooMany

__all__ = ["BoundedLock"]


class BoundedLock:
    """A lock that is given in the order of arrival; at most ``limit`` may wait for it.

    Invariant: those that wait get the lock before those that come later.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = asyncio.Lock()
        self._waiting = 0

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Wait for the lock, hold it for the body, and release it. Raises `TooMany` at once if ``limit`` wait."""
        if self._lock.locked() and self._waiting >= self._limit:
            raise TooMany(f"{self._limit} executions wait for this session already: wait for one to end", retry_after=1)
        self._waiting += 1
        try:
            await self._lock.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._lock.release()
