"""Sockets: the guest's own ZMQ sockets, in a directory in which code of the sandbox may change anything."""

from __future__ import annotations

import errno
import os
from typing import Any

import zmq

from .placeholder import Placeholder

MAX_REQUEST_BYTES = 64 * 1024 * 1024
MAX_REPAIRS = 100


class Sockets:
    """The four sockets to which the gateway connects. A connection stays when the socket's file is removed."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._context: zmq.Context[Any] = zmq.Context()
        self._bound: dict[str, tuple[str, int]] = {}
        self._repairs = 0
        self.control = self._make("control", zmq.ROUTER)
        self.shell = self._make("shell", zmq.ROUTER)
        self.stdin = self._make("stdin", zmq.ROUTER)
        self.iopub = self._make("iopub", zmq.XPUB)

    def stand_in(self, kernel: str) -> Placeholder:
        """Return a placeholder for the gateway. ``kernel``: the prefix of the kernel's files."""
        return Placeholder(self._context, self._directory, kernel)

    def names(self, kernel: str) -> dict[str, str]:
        """Return the file name of each socket by channel. A socket that was removed or replaced gets a new name.

        ``kernel`` is as for `tidy`. Raises `OSError` or `zmq.ZMQError` when the directory does not allow it.
        """
        os.chmod(self._directory, 0o711)
        for channel in [channel for channel in self._bound if not self._is_there(channel)]:
            if self._repairs >= MAX_REPAIRS:
                raise OSError(errno.EMFILE, "they were removed too often")
            self._repairs += 1
            self.tidy(kernel)
            self._bind(
                channel, getattr(self, channel)
            )  # in addition to the old name: unbinding that would close its connections
        return {channel: name for channel, (name, _) in self._bound.items()}

    def tidy(self, kernel: str = "") -> None:
        """Remove every file but the guest's sockets and those of ``kernel``, given as the prefix of its files.

        Follows no link. A file that cannot be removed stays: the next creation of a file then reports the problem.
        """
        own = {name for name, _ in self._bound.values()}
        try:
            os.chmod(self._directory, 0o711)
            for name in os.listdir(self._directory):
                if name not in own and not (kernel and name.startswith(kernel)):
                    _remove(f"{self._directory}/{name}")
        except OSError:
            pass

    def _is_there(self, channel: str) -> bool:
        name, inode = self._bound[channel]
        try:
            return os.lstat(f"{self._directory}/{name}").st_ino == inode
        except FileNotFoundError:
            return False

    def _make(self, channel: str, kind: int) -> zmq.Socket[bytes]:
        sock: zmq.Socket[bytes] = self._context.socket(kind)
        sock.linger = 0
        sock.maxmsgsize = MAX_REQUEST_BYTES
        if kind == zmq.XPUB:
            sock.setsockopt(zmq.XPUB_NODROP, 1)
        else:
            sock.router_handover = True
        self._bind(channel, sock)
        return sock

    def _bind(self, channel: str, sock: zmq.Socket[bytes]) -> None:
        name = f"guest-{channel}" + (f"-{self._repairs}" if self._repairs else "")
        mask = os.umask(0)
        try:
            sock.bind(f"ipc://{self._directory}/{name}")
        finally:
            os.umask(mask)
        self._bound[channel] = (name, os.lstat(f"{self._directory}/{name}").st_ino)


def _remove(path: str) -> None:
    """Remove a file or a directory. The recursion is bounded: the file system has few inodes."""
    try:
        os.unlink(path)
    except IsADirectoryError:
        os.chmod(path, 0o700)
        for name in os.listdir(path):
            _remove(f"{path}/{name}")
        os.rmdir(path)
