"""The guest's hello: announces the guest to the gateway, and passes its directory of sockets to it."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

from . import PROTOCOL

AGAIN_SECONDS = 2


def announce(door: str, sockets: str) -> bytes:
    """Say hello at the door, and return the guest's key, which the gateway sends in answer.

    The hello passes the directory as an ``O_PATH`` descriptor. With it the gateway, root or not, can open the sockets
    in it; no other user of the host can. The key is in no file and no environment variable. Exits when the gateway
    closes the connection before it has answered.

    Parameters
    ----------
    door: path of the gateway's listening socket, which is mounted into the sandbox.
    sockets: path of the directory of sockets.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(door)
        _hello(connection, sockets, {})
        answer = b""
        while not answer.endswith(b"\n"):
            data = connection.recv(4096)
            if not data:
                raise SystemExit("the gateway closed the connection before it sent the key")
            answer += data
    return bytes.fromhex(json.loads(answer)["key"])


def announce_again(door: str, sockets: str, names: dict[str, str]) -> None:
    """Say hello to a gateway that knows the guest's key already.

    ``names``: of the sockets, by channel. No-op when no gateway listens.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", AGAIN_SECONDS, 0))
        try:
            connection.connect(door)
            _hello(connection, sockets, {"sockets": names})
        except OSError:  # the signal did not come from a gateway, or the gateway has ended again
            return


def _hello(connection: socket.socket, sockets: str, more: dict[str, Any]) -> None:
    directory = os.open(sockets, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        hello: dict[str, Any] = {"protocol": PROTOCOL, "pid": os.getpid(), **more}
        socket.send_fds(connection, [json.dumps(hello).encode() + b"\n"], [directory])
    finally:
        os.close(directory)
