"""The guest's first words: it shows itself to the gateway and hands over the way into its directory of sockets."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

from . import PROTOCOL

AGAIN_SECONDS = 2


def announce(door: str, sockets: str) -> bytes:
    """Return the guest's key, which the gateway gives in answer to the hello and to an open directory of sockets.

    The directory goes as an ``O_PATH`` descriptor over the connection: whoever runs the gateway, root or not, can
    then open what is in it, and nobody else on the host can. The key is in no file and no environment.

    Parameters
    ----------
    door: path of the gateway's listening socket, mounted into the sandbox.
    sockets: path of the directory.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(door)
        _hello(connection, sockets, {})
        answer = b""
        while not answer.endswith(b"\n"):
            data = connection.recv(4096)
            if not data:
                raise SystemExit("the gateway closed its door")
            answer += data
    return bytes.fromhex(json.loads(answer)["key"])


def announce_again(door: str, sockets: str, names: dict[str, str]) -> None:
    """Show ourselves to a gateway that has our key already, with the names of our sockets.

    Nothing happens when no door is open.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", AGAIN_SECONDS, 0))
        try:
            connection.connect(door)
            _hello(connection, sockets, {"sockets": names})
        except OSError:  # whoever woke us was not the gateway, or it has gone again
            return


def _hello(connection: socket.socket, sockets: str, more: dict[str, Any]) -> None:
    directory = os.open(sockets, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        hello: dict[str, Any] = {"protocol": PROTOCOL, "pid": os.getpid(), **more}
        socket.send_fds(connection, [json.dumps(hello).encode() + b"\n"], [directory])
    finally:
        os.close(directory)
