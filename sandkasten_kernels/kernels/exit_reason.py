"""Verdict: why a sandbox has ended that nobody had asked to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ..engines import Sandbox
from ..errors import SandkastenError

__all__ = ["ExitReason", "HowEnded", "unknown"]

SECONDS = 1.0

HowEnded = Callable[[Sandbox], Awaitable[str]]
"""Says in words how a sandbox has ended, as `Engine.how_ended` does."""


async def unknown(sandbox: Sandbox) -> str:
    """Say nothing: there is no engine to ask."""
    return ""


class ExitReason:
    """Asks the engine once, whoever wants to know; of one that does not answer within a second it says so."""

    def __init__(self, sandbox: Sandbox, how_ended: HowEnded, log: logging.Logger) -> None:
        self._sandbox = sandbox
        self._how_ended = how_ended
        self._log = log
        self._task: asyncio.Task[str] | None = None

    async def reason(self) -> str:
        """Return why the sandbox has ended."""
        if self._task is None:
            self._task = asyncio.create_task(self._ask())
        return await asyncio.shield(self._task)

    async def cause(self, words: str) -> str:
        """Return why something failed: that the sandbox has ended goes before ``words``."""
        await asyncio.sleep(0)  # connections end a moment before the process does
        return words if self._sandbox.alive else await self.reason()

    def close(self) -> None:
        """Ask no more; a second call does nothing."""
        if self._task:
            self._task.cancel()

    async def _ask(self) -> str:
        try:
            async with asyncio.timeout(SECONDS):
                return await self._how_ended(self._sandbox) or "its sandbox ended"
        except (TimeoutError, SandkastenError) as error:
            self._log.info("how sandbox %s ended is not known: %s", self._sandbox.id, error)
            return "its sandbox ended, and the engine does not say how"
