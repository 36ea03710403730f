"""Holds the gateway's place at the kernel while the gateway is away, so that no reply and no output is lost."""

from __future__ import annotations

import struct
from typing import Any

import zmq

CHANNELS = {"shell": 1, "stdin": 3, "control": 4}
IOPUB = 2
MAX_BYTES = 16 * 1024 * 1024
MAX_RETURNS = 8
WAIT_MS = 50


class Placeholder:
    """Sockets that nobody reads until the gateway is back: what the kernel sends waits in it, and then it waits itself.

    They have the gateway's own identity; when the gateway comes back with it, the kernel's replies go there again. So
    the memory of the guest is not used for output, but for a message or two.
    """

    def __init__(self, context: zmq.Context[Any], directory: str, kernel: str) -> None:
        self._context = context
        self._prefix = f"{directory}/{kernel}"
        self._iopub = self._socket(zmq.SUB, IOPUB, b"")
        self._dealers: list[tuple[str, zmq.Socket[bytes]]] = []
        self._rest = b""
        self._marked = False

    def take(self, identity: bytes) -> None:
        """Take the gateway's place; again after it came back and left before it had relieved us."""
        for _, sock in self._dealers[: -len(CHANNELS) * (MAX_RETURNS - 1)]:
            sock.close()
        self._dealers = self._dealers[-len(CHANNELS) * (MAX_RETURNS - 1) :]
        self._dealers += [(name, self._socket(zmq.DEALER, number, identity)) for name, number in CHANNELS.items()]
        self._marked = False

    def piece(self, marker: bytes, limit: int) -> tuple[bytes, bool]:
        """Return what has waited, at most ``limit`` bytes, and whether that was the last of it.

        The gateway has what the kernel publishes after the message whose parent has ``marker``. Of each message there
        is its channel, its frames and their number; each with its length before it.
        """
        waited = False
        while len(self._rest) < limit and not self._marked:
            if (frames := _next(self._iopub)) is None:
                if waited or not self._iopub.poll(WAIT_MS):
                    break
                waited = True
                continue
            waited = False
            self._marked = bool(marker) and any(marker in frame for frame in frames[:5])
            if not self._marked:
                self._rest += _packed("iopub", frames)
        if self._marked or not marker:
            for name, sock in self._dealers:
                while len(self._rest) < limit and (frames := _next(sock)) is not None:
                    self._rest += _packed(name, frames)
        data, self._rest = self._rest[:limit], self._rest[limit:]
        return data, (self._marked or not marker) and not self._rest and len(data) < limit

    def close(self) -> None:
        """Leave the place; a second call does nothing."""
        for sock in (self._iopub, *(sock for _, sock in self._dealers)):
            sock.close()

    def _socket(self, kind: int, number: int, identity: bytes) -> zmq.Socket[bytes]:
        sock: zmq.Socket[bytes] = self._context.socket(kind)
        sock.linger = 0
        sock.maxmsgsize = MAX_BYTES
        if kind == zmq.SUB:
            sock.rcvhwm = 1
            sock.reconnect_ivl_max = 5000
            sock.setsockopt(zmq.SUBSCRIBE, b"")
        else:
            sock.reconnect_ivl = -1  # the gateway takes the identity back, and must keep it
            sock.identity = identity
        sock.connect(f"ipc://{self._prefix}-{number}")
        return sock


def _next(sock: zmq.Socket[bytes]) -> list[bytes] | None:
    try:
        return sock.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return None


def _packed(channel: str, frames: list[bytes]) -> bytes:
    parts = [channel.encode(), *frames]
    return b"".join([struct.pack("<I", len(parts)), *(struct.pack("<I", len(part)) + part for part in parts)])
