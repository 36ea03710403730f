"""One after the other, in the order in which they came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..errors import TooMany

__all__ = ["BoundedLock"]


class BoundedLock:
    """Lets one after the other pass, in the order in which they came, with at most ``bound`` waiting."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._lock = asyncio.Lock()
        self._waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the turn. Raises `TooMany` at once when ``bound`` wait already."""
        if self._lock.locked() and self._waiting >= self._bound:
            raise TooMany(f"{self._bound} executions wait for this session already: wait for one to end", retry_after=1)
        self._waiting += 1
        try:
            await self._lock.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._lock.release()
