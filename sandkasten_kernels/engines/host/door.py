"""The door at which a guest shows itself: a Unix socket mounted into one sandbox, open for one hello.

It is opened once for a new guest, and again for one that an earlier process of the gateway has left.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import socket
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import SandboxFailed
from ...guest import PROTOCOL, PROTOCOLS

__all__ = ["Arrival", "Door", "accepted"]

_HELLO_BYTES = 4096
_CALLERS = 16


@dataclass
class Arrival:
    """A guest that has shown itself.

    Attributes
    ----------
    directory: ``O_PATH`` descriptor of its directory of sockets.
    pidfd: descriptor of its process.
    uid: its user on this host.
    key: the key it was given.
    sockets: names of its own sockets by channel, where they are not the usual ones.
    """

    directory: int
    pidfd: int
    uid: int
    key: bytes
    sockets: Mapping[str, str] = field(default_factory=dict)

    def close(self) -> None:
        """Give back the descriptors; a second call does nothing."""
        for fd in (self.directory, self.pidfd):
            if fd >= 0:
                os.close(fd)
        self.directory = self.pidfd = -1


class Door:
    """A directory to mount into a sandbox, with the socket ``hello.sock`` in it.

    The directory is mounted read-only, so that nothing which comes from the sandbox is ever in it.

    Parameters
    ----------
    again: whether the directory is there and mounted already.
    """

    def __init__(self, directory: Path, *, again: bool = False) -> None:
        self.directory = directory
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        if again:
            (directory / "hello.sock").unlink(missing_ok=True)
        else:
            directory.mkdir(mode=0o755)
            directory.chmod(0o755)
        anchor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        try:  # by descriptor: a socket's path is limited to 107 bytes, a data directory's is not
            self._listener.bind(f"/proc/self/fd/{anchor}/hello.sock")
        finally:
            os.close(anchor)
        (directory / "hello.sock").chmod(0o666)
        self._listener.listen(_CALLERS)

    async def hello(self) -> Arrival:
        """Return the guest that arrives; close the door behind it. Raises `SandboxFailed` for a wrong hello."""
        loop = asyncio.get_running_loop()
        connection = await accepted(self._listener)
        self.shut()
        try:
            await _readable(connection)
            data, fds, _, _ = socket.recv_fds(connection, _HELLO_BYTES, 4)
            pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            for fd in fds[1:]:
                os.close(fd)
            arrival = Arrival(fds[0] if fds else -1, -1, uid, secrets.token_bytes(32))
            try:
                _check(data, arrival, pid)
                arrival.pidfd = os.pidfd_open(pid)
                await loop.sock_sendall(connection, json.dumps({"key": arrival.key.hex()}).encode() + b"\n")
            except OSError as error:
                arrival.close()
                raise SandboxFailed(f"the guest left while it said hello: {error.strerror}") from error
            except BaseException:
                arrival.close()
                raise
        finally:
            connection.close()
        return arrival

    async def hello_again(self, pid: int, key: bytes) -> Arrival:
        """Return the guest with this process id and key when it has arrived; whoever else calls is sent away.

        Raises `SandboxFailed` for a wrong hello.
        """
        while True:
            connection = await accepted(self._listener)
            with connection:
                caller, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
                if caller != pid:
                    await asyncio.sleep(0)  # a call that waits is accepted without a turn for anybody else
                    continue
                await _readable(connection)
                data, fds, _, _ = socket.recv_fds(connection, _HELLO_BYTES, 4)
            for fd in fds[1:]:
                os.close(fd)
            arrival = Arrival(fds[0] if fds else -1, -1, uid, key)
            try:
                _check(data, arrival, pid, PROTOCOLS)
                arrival.sockets = _names(data)
                arrival.pidfd = os.pidfd_open(pid)
            except BaseException as error:
                arrival.close()
                if isinstance(error, OSError):
                    raise SandboxFailed("the guest ended while it said hello again") from error
                raise
            return arrival

    def shut(self) -> None:
        """Take no further guest; a second call does nothing."""
        self._listener.close()
        (self.directory / "hello.sock").unlink(missing_ok=True)

    def remove(self) -> None:
        """Shut the door and remove its directory; a second call does nothing."""
        self.shut()
        if self.directory.is_dir():
            shutil.rmtree(self.directory)


def _names(hello: bytes) -> dict[str, str]:
    """Return the names that a guest gives to its sockets."""
    names = json.loads(hello).get("sockets")
    if not isinstance(names, dict):
        return {}
    return {str(channel): name for channel, name in names.items() if isinstance(name, str)}


def _check(hello: bytes, arrival: Arrival, pid: int, accepted: Collection[int] = (PROTOCOL,)) -> None:
    try:
        protocol = json.loads(hello)["protocol"]
    except (ValueError, KeyError, TypeError) as error:
        raise SandboxFailed("the guest's hello cannot be read") from error
    if protocol not in accepted:
        mend = "run 'sandkasten-kernels images build'"
        raise SandboxFailed(f"the image speaks guest protocol {protocol}, this gateway {PROTOCOL}: {mend}")
    if arrival.directory < 0 or not pid:
        raise SandboxFailed("the guest's process cannot be seen: run the gateway in the host's pid namespace")


async def accepted(listener: socket.socket) -> socket.socket:
    """Return the next caller of a listening socket that does not block.

    `loop.sock_accept` loses a caller, and logs a traceback, where it is cancelled in the instant in which one comes.
    """
    while True:
        try:
            return listener.accept()[0]
        except BlockingIOError:
            await _readable(listener)


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    connection.setblocking(False)
    fd = connection.fileno()  # the socket may be closed meanwhile
    loop.add_reader(fd, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(fd)
