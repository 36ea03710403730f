"""The packet rules of the sandboxes' network are laid again and again: whatever may flush them does not ask."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from ...errors import EngineError
from .connection import EngineConnection
from .host import DockerHost

__all__ = ["FirewallKeeper"]

RULES_SECONDS = 60.0


class FirewallKeeper:
    """Looks after the rules from `setup` to `cleanup`, and tells when they were missing."""

    def __init__(self, connection: EngineConnection, host: DockerHost, log: logging.Logger) -> None:
        self._connection = connection
        self._host = host
        self._log = log
        self._stopping = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    def setup(self) -> None:
        """Begin; no-op where there are no sandboxes with a network."""
        if self._host.has_network:
            self._keeper = asyncio.create_task(self._keep())

    async def cleanup(self) -> None:
        """End; a second call does nothing."""
        if self._keeper:  # not cancelled: what it has begun must not come after the rules are taken away
            self._stopping.set()
            await asyncio.wait({self._keeper})
            if error := self._keeper.exception():
                self._log.error("the packet rules were not looked after any more", exc_info=error)
            self._keeper = None

    def lay(self) -> None:
        """Put the rules in place now; blocks."""
        if self._host.lay_rules():
            self._log.warning(
                "the packet rules of the sandboxes' network were missing and are laid again: something has flushed the "
                "host's (a restart of nftables?), and sandboxes could reach what is near"
            )

    async def _keep(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), RULES_SECONDS)
                return
            try:
                await self._connection.run(self.lay)
            except EngineError as error:
                self._log.warning("the packet rules of the sandboxes' network are not looked after: %s", error.message)
