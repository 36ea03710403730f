"""Trying again after a failure that may pass."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

__all__ = ["BACKOFF_SECONDS", "forever", "retry"]

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

BACKOFF_SECONDS = (1.0, 2.0, 5.0, 15.0, 30.0)
"""Pauses after the first, second, ... failure in a row."""


def forever(delays: tuple[float, ...] = BACKOFF_SECONDS) -> Iterator[float]:
    """Yield the delays, and then the last one without end."""
    return itertools.chain(delays, itertools.repeat(delays[-1]))


async def retry(
    work: Callable[[], Awaitable[T]], failure: type[E], delays: Iterable[float], on_failure: Callable[[E, float], None]
) -> T:
    """Return what ``work()`` returns, and call it again after each failure.

    Parameters
    ----------
    failure: the exception that may pass; any other one, and cancellation, ends the attempts.
    delays: seconds to wait after each failure; when they are used up, one last attempt raises its failure.
    on_failure: called with each failure and the seconds until the next attempt.
    """
    for delay in delays:
        try:
            return await work()
        except failure as error:
            on_failure(error, delay)
        await asyncio.sleep(delay)
    return await work()
