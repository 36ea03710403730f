"""Door: the Unix socket, mounted into one sandbox, at which its guest says hello.

It is open for one hello: of a new guest, or of a guest that an earlier process of the gateway has left.
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
    """The facts of a guest that has said hello.

    Attributes
    ----------
    directory: ``O_PATH`` descriptor of the directory with its sockets.
    pidfd: descriptor of its process.
    uid: its user id on this host.
    key: signs the messages between gateway and guest.
    sockets: names of its own sockets by channel, as far as they differ from the defaults.
    """

    directory: int
    pidfd: int
    uid: int
    key: bytes
    sockets: Mapping[str, str] = field(default_factory=dict)

    def close(self) -> None:
        """Close the descriptors; a second call does nothing."""
        for fd in (self.directory, self.pidfd):
            if fd >= 0:
                os.close(fd)
        self.directory = self.pidfd = -1


class Door:
    """A directory to mount into a sandbox, with the socket ``hello.sock`` in it.

    The mount is read-only, so that the sandbox can put nothing into the directory.

    Parameters
    ----------
    again: whether the directory exists, and is mounted in a running sandbox.
    """

    def __init__(self, directory: Path, *, again: bool = False) -> None:
        self.directory = directory
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        if again:
            (directory / "hello.sock").unlink(missing_ok=True)  # of an earlier process that was killed
        else:
            directory.mkdir(mode=0o755)
            directory.chmod(0o755)  # `mkdir` obeys the umask
        anchor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        try:  # by descriptor: the path of a socket has at most 107 bytes, that of a data directory may be longer
            self._listener.bind(f"/proc/self/fd/{anchor}/hello.sock")
        finally:
            os.close(anchor)
        (directory / "hello.sock").chmod(0o666)  # the guest has another uid, and `bind` obeys the umask
        self._listener.listen(_CALLERS)

    async def hello(self) -> Arrival:
        """Return the arrival of the first guest that connects, and shut the door. Raises `SandboxFailed`."""
        loop = asyncio.get_running_loop()
        connection = await accepted(self._listener)
        # One hello alone: user code starts after the guest, and must find no open door.
        self.shut()
        try:
            await _readable(connection)
            data, fds, _, _ = socket.recv_fds(connection, _HELLO_BYTES, 4)
            # From Linux: the caller cannot choose them.
            pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            # A hostile guest may pass more descriptors than the one expected.
            for fd in fds[1:]:
                os.close(fd)
            # The guest gets the key over this connection alone: no file or variable has it that user code could read.
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
        """Return the arrival of the guest with this process id and key; other callers are disconnected.

        Raises `SandboxFailed` for a bad hello.
        """
        while True:
            connection = await accepted(self._listener)
            with connection:
                caller, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
                if caller != pid:
                    await asyncio.sleep(0)  # accepting a waiting call never yields to the event loop by itself
                    continue
                await _readable(connection)
                data, fds, _, _ = socket.recv_fds(connection, _HELLO_BYTES, 4)
            for fd in fds[1:]:
                os.close(fd)
            arrival = Arrival(fds[0] if fds else -1, -1, uid, key)
            try:
                _check(data, arrival, pid, PROTOCOLS)  # a sandbox of an earlier release may speak an older one
                arrival.sockets = _names(data)
                arrival.pidfd = os.pidfd_open(pid)
            except BaseException as error:
                arrival.close()
                if isinstance(error, OSError):
                    raise SandboxFailed("the guest ended while it said hello again") from error
                raise
            return arrival

    def shut(self) -> None:
        """Accept no more guests; a second call does nothing."""
        self._listener.close()
        (self.directory / "hello.sock").unlink(missing_ok=True)

    def remove(self) -> None:
        """Shut the door and remove its directory; a second call does nothing."""
        self.shut()
        if self.directory.is_dir():
            shutil.rmtree(self.directory)


def _names(hello: bytes) -> dict[str, str]:
    """Return the names of its sockets by channel that a guest sends in its hello."""
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
    if arrival.directory < 0 or not pid:  # 0: of a process outside of our pid namespace
        raise SandboxFailed("the guest's process cannot be seen: run the gateway in the host's pid namespace")


async def accepted(listener: socket.socket) -> socket.socket:
    """Return the next connection of a non-blocking listening socket.

    `loop.sock_accept` loses a connection, and logs a traceback, when it is cancelled at the instant one arrives.
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
    fd = connection.fileno()  # the socket may be closed during the wait
    loop.add_reader(fd, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(fd)
