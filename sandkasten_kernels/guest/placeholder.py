"""Placeholder: sockets connected to the kernel in the place of a gateway that is away."""

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
    """Sockets that are not read until the gateway is back, so that no reply and no output is lost.

    The kernel's messages wait in the kernel; when its queue is full, the kernel itself waits. So the guest's memory
    holds only a message or two. The sockets have the gateway's own identity: when the gateway reconnects with it, the
    kernel's replies go to the gateway again.
    """

    def __init__(self, context: zmq.Context[Any], directory: str, kernel: str) -> None:
        self._context = context
        self._prefix = f"{directory}/{kernel}"
        self._iopub = self._socket(zmq.SUB, IOPUB, b"")
        self._dealers: list[tuple[str, zmq.Socket[bytes]]] = []
        self._rest = b""
        self._marked = False

    def take(self, identity: bytes) -> None:
        """Connect with the gateway's identity; once more when it returned and left before it had read the backlog."""
        for _, sock in self._dealers[: -len(CHANNELS) * (MAX_RETURNS - 1)]:
            sock.close()
        self._dealers = self._dealers[-len(CHANNELS) * (MAX_RETURNS - 1) :]
        self._dealers += [(name, self._socket(zmq.DEALER, number, identity)) for name, number in CHANNELS.items()]
        self._marked = False

    def piece(self, marker: bytes, limit: int) -> tuple[bytes, bool]:
        """Return the next piece of the backlog, at most ``limit`` bytes, and whether it is the last one.

        The backlog ends at the message with ``marker`` in its parent: the gateway itself receives the later ones. A
        message is packed as the number of its parts and the parts, each behind its length: the channel, then the
        frames.
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
        """Close the sockets; a second call does nothing."""
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
            sock.reconnect_ivl = -1  # a reconnect would take the identity away from the gateway, which has it again
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
