"""The one way in which a test waits: ask again and again until an answer holds, within a limit of time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

Answer = TypeVar("Answer")

PATIENCE_SECONDS = 60
"""How long a test waits for what has to come, where it says nothing else."""

INTERVAL_SECONDS = 0.02
"""Pause between two questions."""


async def eventually(
    ask: Callable[[], Answer | Awaitable[Answer]],
    holds: Callable[[Answer], Any] = bool,
    *,
    seconds: float = PATIENCE_SECONDS,
    interval: float = INTERVAL_SECONDS,
) -> Answer:
    """Return the first answer of ``ask`` for which ``holds`` is true.

    Raises `AssertionError` with the last answer after ``seconds``, also when ``ask`` itself hangs.

    Parameters
    ----------
    ask: a function or a coroutine function; an exception that it raises ends the wait.
    holds: what the answer has to fulfil; without it the answer has to be true.
    interval: seconds between two questions; 0 lets the event loop go on once.
    """
    answer: Any = "nothing"
    try:
        async with asyncio.timeout(seconds) as limit:
            while True:
                answer = ask()
                if inspect.isawaitable(answer):
                    answer = await answer
                if holds(answer):
                    return cast(Answer, answer)
                await asyncio.sleep(interval)
    except TimeoutError:
        if not limit.expired():
            raise
        raise _late(seconds, answer) from None


def eventually_blocking(
    ask: Callable[[], Answer],
    holds: Callable[[Answer], Any] = bool,
    *,
    seconds: float = PATIENCE_SECONDS,
    interval: float = INTERVAL_SECONDS,
) -> Answer:
    """Do the same as `eventually` in code without an event loop; ``ask`` must not hang."""
    deadline = time.monotonic() + seconds
    while not holds(answer := ask()):
        if time.monotonic() > deadline:
            raise _late(seconds, answer)
        time.sleep(interval)
    return answer


def _late(seconds: float, answer: object) -> AssertionError:
    return AssertionError(f"did not hold within {seconds:g} s; the last answer was {answer!r:.2000}")
