"""The guest's first words: it shows itself to the gateway and hands over the way into its directory of sockets."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from . import PROTOCOL


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
        directory = os.open(sockets, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            hello: dict[str, Any] = {"protocol": PROTOCOL, "pid": os.getpid()}
            socket.send_fds(connection, [json.dumps(hello).encode() + b"\n"], [directory])
        finally:
            os.close(directory)
        answer = b""
        while not answer.endswith(b"\n"):
            data = connection.recv(4096)
            if not data:
                raise SystemExit("the gateway closed its door")
            answer += data
    return bytes.fromhex(json.loads(answer)["key"])
