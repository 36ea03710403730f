"""HostSandbox: a sandbox whose processes run on the gateway's own host."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ...protocol import SocketError
from ..base import Sandbox
from .door import Arrival

__all__ = ["HostSandbox", "on_host"]

CONNECT_RETRY_SECONDS = 0.002


@dataclass(eq=False)
class HostSandbox(Sandbox):
    """Made of the arrival of its guest: a pidfd, the user id on this host, and the directory of the sockets.

    Owns the descriptors of the arrival; `close` gives them back.
    """

    arrival: Arrival = field(kw_only=True)
    _on_exit: list[Callable[[], None]] = field(default_factory=list, init=False, repr=False)
    _watched: bool = field(default=False, init=False, repr=False)

    @property
    def guest_key(self) -> bytes:
        return self.arrival.key

    @property
    def socket_names(self) -> Mapping[str, str]:
        return self.arrival.sockets

    async def open_socket(self, name: str) -> socket.socket:
        found = self._find(name)
        try:
            while True:
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
                try:
                    # by descriptor: it leads to the very socket that was checked, whatever has the name by now
                    # Synchronous: a Unix socket connects at once or fails.
                    sock.connect(f"/proc/self/fd/{found}")
                except (ConnectionRefusedError, BlockingIOError):
                    sock.close()  # its process has bound it and listens in a moment, or its backlog is full
                    await asyncio.sleep(CONNECT_RETRY_SECONDS)
                except OSError as error:
                    sock.close()
                    raise SocketError(f"socket {name}: {error.strerror}") from error
                else:
                    return sock
        finally:
            os.close(found)

    @property
    def alive(self) -> bool:
        """Whether the first process runs at this instant, as the kernel says of its pidfd."""
        if self.arrival.pidfd < 0:
            return False
        poll = select.poll()
        poll.register(self.arrival.pidfd, select.POLLIN)
        return not poll.poll(0)  # a pidfd is readable once the process has ended

    def on_exit(self, callback: Callable[[], None]) -> None:
        self._on_exit.append(callback)
        if not self._watched:
            self._watched = True
            asyncio.get_running_loop().add_reader(self.arrival.pidfd, self._exited)

    def close(self) -> None:
        if self._watched:
            self._watched = False
            asyncio.get_running_loop().remove_reader(self.arrival.pidfd)
        self._on_exit.clear()
        self.arrival.close()

    def _find(self, name: str) -> int:
        """Return an ``O_PATH`` descriptor of the socket ``name``; the caller closes it.

        Raises `SocketError` without such a name, and for a link, a file of another kind, or another user's socket.
        """
        # The sandbox chooses the name; a path would lead out of its directory.
        if not name or "/" in name or not name.isprintable():
            raise SocketError(f"{name!r} is not the name of a socket")
        try:
            # the sandbox may replace the file at any time: neither a link nor a name is followed after this call
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.arrival.directory)
        except OSError as error:
            raise SocketError(f"socket {name}: {error.strerror}") from error
        status = os.fstat(fd)
        if not stat.S_ISSOCK(status.st_mode) or status.st_uid != self.arrival.uid:
            os.close(fd)
            raise SocketError(f"socket {name}: not a socket of the sandbox's user")
        return fd

    def _exited(self) -> None:
        self._watched = False
        asyncio.get_running_loop().remove_reader(self.arrival.pidfd)
        callbacks, self._on_exit = self._on_exit, []
        for callback in callbacks:
            callback()


def on_host(sandbox: Sandbox) -> HostSandbox:
    """Return the same sandbox with its type: an engine of this host gets back only sandboxes that it has made."""
    assert isinstance(sandbox, HostSandbox)
    return sandbox
