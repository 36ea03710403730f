"""FirewallKeeper: loads the packet rules of the sandboxes' network again and again.

Another program may flush the host's rules at any time (a restart of nftables does), and sends no event when it does.
"""

from __future__ import annotations

import asyncio
import logging

from ...background import BackgroundTasks
from ...errors import EngineError
from .connection import EngineConnection
from .host import DockerHost

__all__ = ["FirewallKeeper"]

RULES_SECONDS = 60.0


class FirewallKeeper:
    """Loads the rules every `RULES_SECONDS` from `setup` to `cleanup`, and logs a warning when they were missing.

    Parameters
    ----------
    tasks: a group of the keeper's own; `cleanup` ends it.
    """

    def __init__(
        self, connection: EngineConnection, host: DockerHost, tasks: BackgroundTasks, log: logging.Logger
    ) -> None:
        self._connection = connection
        self._host = host
        self._tasks = tasks
        self._log = log
        self._loading = asyncio.Lock()

    def setup(self) -> None:
        """Start; no-op where no sandbox has a network."""
        if self._host.has_network:
            self._tasks.keep("packet rules", self._keep)

    async def cleanup(self) -> None:
        """Return when no rules are being loaded and none will be; a second call does nothing."""
        async with self._loading:  # rules that load now must not appear after the engine has removed the table
            await self._tasks.cleanup()

    def load(self) -> None:
        """Load the rules now; blocks. Raises `EngineError`."""
        if self._host.load_rules():
            self._log.warning(
                "the packet rules of the sandboxes' network were missing and are loaded again: another program has "
                "flushed the host's rules (a restart of nftables?), and meanwhile sandboxes could reach the host and "
                "private networks"
            )

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(RULES_SECONDS)
            async with self._loading:
                try:
                    await self._connection.run(self.load)
                except EngineError as error:
                    self._log.warning(
                        "the packet rules of the sandboxes' network could not be checked, next try in %g s: %s",
                        RULES_SECONDS,
                        error.message,
                    )
