"""ShellLink: the connection to the shell that every sandbox has beside its kernel."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

from ..engines import Sandbox
from ..relay import GuestLink, KernelLink, LinkError
from .setup_code import bash_setup, silent

__all__ = ["ShellLink", "guest_sockets", "socket_names"]

CHANNELS = ("shell", "control", "stdin", "iopub")
GUEST_SECONDS, NEWS_SECONDS = 10.0, 2.0


class ShellLink:
    """A link to a sandbox's shell, which is independent of the kernel.

    `warm_up` connects it before the kernel counts as warm. After a loss the next `get` connects again.
    """

    def __init__(self, sandbox: Sandbox, guest: GuestLink, log: logging.Logger) -> None:
        self._sandbox = sandbox
        self._guest = guest
        self._log = log
        self._link: KernelLink | None = None
        self._lost_links: set[KernelLink] = set()
        self._lock = asyncio.Lock()

    @property
    def link(self) -> KernelLink | None:
        """The link while it is connected, else None."""
        return self._link

    async def get(self) -> KernelLink:
        """Return the link, and connect first if necessary. Raises `LinkError`."""
        async with self._lock:
            if self._link is None:
                self._link = await self._open()
            return self._link

    async def resume(self) -> None:
        """Connect to the shell that an earlier process left, which may be busy. Raises `LinkError`."""
        async with self._lock:
            link = KernelLink(self._lost, self._log)
            names, sandbox = await guest_sockets(self._guest), self._sandbox
            await link.resume(sandbox, names, sandbox.guest_key, _no_backlog, GUEST_SECONDS)
            self._link = link

    async def warm_up(self) -> None:
        """Return when bash has answered. Raises `LinkError`."""
        link = await self.get()
        await link.call("shell", "execute_request", silent(":"), GUEST_SECONDS)

    def set_up(self, env: Mapping[str, str], cwd: str | None) -> None:
        """Send the owner's environment and directory to the shell, ahead of the owner's first command.

        Raises `LinkError` when it is not connected.
        """
        if self._link is None:
            raise LinkError("the shell ended the connection")
        self._link.post("shell", "execute_request", bash_setup(env, cwd))

    def close(self, reason: str) -> None:
        """Close the connection; open requests end with ``reason``. A second call does nothing."""
        link, self._link = self._link, None
        for lost in (*self._lost_links, *([link] if link else [])):
            self._end(lost, reason)

    def _end(self, link: KernelLink, reason: str) -> None:
        self._lost_links.discard(link)
        link.fail_open_requests("ShellGone", f"The shell is gone: {reason}.")
        link.close(reason)

    def leave(self) -> None:
        """Close the connection without a word to clients."""
        if self._link is not None:
            self._link.close("the gateway stops")

    async def _open(self) -> KernelLink:
        if not self._sandbox.alive:
            raise LinkError("its sandbox ended")
        link = KernelLink(self._lost, self._log)
        names = await guest_sockets(self._guest)
        try:
            await link.open(self._sandbox, names, self._sandbox.guest_key, GUEST_SECONDS)
        except BaseException:
            link.close("it was not opened")
            raise
        return link

    def _lost(self) -> None:
        # If the sandbox has ended, its owner calls `close` with the reason a moment later. Else the open requests fail.
        link, self._link = self._link, None
        if link is not None:
            self._lost_links.add(link)
            asyncio.get_running_loop().call_later(NEWS_SECONDS, self._end_without_reason, link)

    def _end_without_reason(self, link: KernelLink) -> None:
        if link in self._lost_links:  # not ended by `close` meanwhile
            self._end(link, "the shell ended the connection")


async def _no_backlog(marker: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Yield nothing: the clients of the shell's earlier output are gone."""
    return
    yield


async def guest_sockets(guest: GuestLink) -> Mapping[str, str]:
    """Return the names of the guest's own sockets; the guest makes those again that code in the sandbox removed."""
    return socket_names(await guest.call("sockets_request", {}, GUEST_SECONDS))


def socket_names(answer: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the socket names in a reply of the guest. Raises `LinkError` when one is missing or not a string."""
    names = answer.get("sockets")
    if not isinstance(names, dict) or not all(isinstance(names.get(name), str) for name in CHANNELS):
        raise LinkError("the guest named no sockets")
    return names
