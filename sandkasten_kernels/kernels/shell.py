"""ShellLink: the gateway's end of the shell that stands beside every kernel, opened when it is first asked for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

from ..engines import Sandbox
from ..relay.calls import LinkError
from ..relay.guest_link import GuestLink
from ..relay.link import KernelLink
from .setup_code import bash_setup, silent

__all__ = ["ShellLink", "guest_sockets", "socket_names"]

CHANNELS = ("shell", "control", "stdin", "iopub")
GUEST_SECONDS, NEWS_SECONDS = 10.0, 2.0


class ShellLink:
    """A link to a sandbox's shell, opened while the kernel becomes warm, and again after it was lost.

    The shell is independent of the kernel.
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
        """The link while it is open."""
        return self._link

    async def get(self) -> KernelLink:
        """Return the link, opened where it is not. Raises `LinkError`."""
        async with self._lock:
            if self._link is None:
                self._link = await self._open()
            return self._link

    async def resume(self) -> None:
        """Open the link to a shell that an earlier process left, and that may be busy. Raises `LinkError`."""
        async with self._lock:
            link = KernelLink(self._lost, self._log)
            names, sandbox = await guest_sockets(self._guest), self._sandbox
            await link.resume(sandbox, names, sandbox.guest_key, _nothing, GUEST_SECONDS)
            self._link = link

    async def warm_up(self) -> None:
        """Return when bash has answered. Raises `LinkError`."""
        link = await self.get()
        await link.call("shell", "execute_request", silent(":"), GUEST_SECONDS)

    def set_up(self, env: Mapping[str, str], cwd: str | None) -> None:
        """Give the shell its owner's environment and directory, ahead of the owner's first command.

        Raises `LinkError` when it is not open.
        """
        if self._link is None:
            raise LinkError("the shell ended the connection")
        self._link.post("shell", "execute_request", bash_setup(env, cwd))

    def close(self, reason: str) -> None:
        """End the connection and what is asked over it; a second call does nothing."""
        link, self._link = self._link, None
        for lost in (*self._lost_links, *([link] if link else [])):
            self._end(lost, reason)

    def _end(self, link: KernelLink, reason: str) -> None:
        self._lost_links.discard(link)
        link.fail_open_requests("ShellGone", f"The shell is gone: {reason}.")
        link.close(reason)

    def leave(self) -> None:
        """Give the connection back and tell nobody."""
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
        """A connection ended. Where its sandbox did, whoever knows why closes us; else those who wait are told."""
        link, self._link = self._link, None
        if link is not None:
            self._lost_links.add(link)
            asyncio.get_running_loop().call_later(NEWS_SECONDS, self._not_told, link)

    def _not_told(self, link: KernelLink) -> None:
        if link in self._lost_links:
            self._end(link, "the shell ended the connection")


async def _nothing(marker: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Say nothing: what the shell said to an earlier process is nobody's."""
    return
    yield


async def guest_sockets(guest: GuestLink) -> Mapping[str, str]:
    """Return the names of the guest's own sockets; those that code in the sandbox removed are made again."""
    return socket_names(await guest.call("sockets_request", {}, GUEST_SECONDS))


def socket_names(answer: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the names in an answer of the guest's. Raises `LinkError` where there are none."""
    names = answer.get("sockets")
    if not isinstance(names, dict) or not all(isinstance(names.get(name), str) for name in CHANNELS):
        raise LinkError("the guest named no sockets")
    return names
