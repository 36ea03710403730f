"""ExitReason: why a kernel's process or its sandbox ended, in words."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ..background import BackgroundTasks
from ..engines import Sandbox, signal_name
from ..errors import SandkastenError

__all__ = ["ExitReason", "HowEnded", "death_reason", "unknown"]

SECONDS = 1.0

HowEnded = Callable[[Sandbox], Awaitable[str]]
"""Returns in words how a sandbox ended, as `Engine.how_ended` does."""


async def unknown(sandbox: Sandbox) -> str:
    """Return an empty string: there is no engine to ask."""
    return ""


def death_reason(content: Mapping[str, Any]) -> str:
    """Return why a kernel's process ended.

    ``content`` is the guest's ``kernel_died`` message. A field of another type than expected counts as missing.
    """
    limit, number, code = content.get("memory_limit"), content.get("signal"), content.get("exit_code")
    if content.get("out_of_memory"):
        reason = "killed, out of memory"
        return f"{reason}, limit {limit // 2**20} MiB" if isinstance(limit, int) else reason
    if isinstance(number, int):
        return f"killed by signal {signal_name(number)}"
    return f"it ended with exit code {code}" if isinstance(code, int) else "it ended"


class ExitReason:
    """Asks the engine once how a sandbox ended, however many callers want to know, and waits a second at most."""

    def __init__(self, sandbox: Sandbox, how_ended: HowEnded, log: logging.Logger, tasks: BackgroundTasks) -> None:
        self._sandbox = sandbox
        self._how_ended = how_ended
        self._log = log
        self._tasks = tasks
        self._task: asyncio.Task[str] | None = None

    async def of_sandbox(self) -> str:
        """Return why the sandbox ended."""
        if self._task is None:
            self._task = self._tasks.awaited("exit reason of a sandbox", self._ask())
        # Shielded: a caller that is cancelled must not take the answer from the others.
        return await asyncio.shield(self._task)

    async def or_sandbox(self, reason: str) -> str:
        """Return ``reason`` for a failure, or why the sandbox ended: that is then the cause of the failure."""
        await asyncio.sleep(0)  # the connections close a moment before the engine reports the end of the process
        return reason if self._sandbox.alive else await self.of_sandbox()

    def close(self) -> None:
        """Cancel a question under way; a second call does nothing."""
        if self._task:
            self._task.cancel()

    async def _ask(self) -> str:
        try:
            async with asyncio.timeout(SECONDS):
                return await self._how_ended(self._sandbox) or "its sandbox ended"
        except (TimeoutError, SandkastenError) as error:
            # The clients must get an answer now; a reason that comes later is of no use to them.
            self._log.info("the engine did not say how sandbox %s ended: %s", self._sandbox.id, error)
            return "its sandbox ended, and the engine does not say how"
