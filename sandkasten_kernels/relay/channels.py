"""The sockets of one kernel, opened and closed together, and the signature of what goes over them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from functools import partial

from ..protocol import zmtp
from ..protocol.messages import Parts, Signer
from ..protocol.sockets import Endpoint, SocketError, ZmtpSocket

__all__ = ["KernelChannels"]

_SOCKET_TYPES = {"shell": "DEALER", "control": "DEALER", "stdin": "DEALER", "iopub": "SUB"}


class KernelChannels:
    """The channels of a kernel by their names. They may be closed, and opened to the kernel's next process.

    Parameters
    ----------
    identity: of the gateway's end.
    max_bytes: the most that a message may have.
    on_iopub, on_reply: called with the frames of a message; the latter with its channel before them.
    on_oversized: called with channel and rest of a message that is above the limit.
    on_lost: called when the kernel's side ends one of them.
    """

    names = frozenset(_SOCKET_TYPES)

    def __init__(
        self,
        identity: bytes,
        max_bytes: int,
        on_iopub: Callable[[list[bytes]], None],
        on_reply: Callable[[str, list[bytes]], None],
        on_oversized: Callable[[str, zmtp.Oversized], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._identity = identity
        self._max_bytes = max_bytes
        self._on_iopub = on_iopub
        self._on_reply = on_reply
        self._on_oversized = on_oversized
        self._on_lost = on_lost
        self._signer = Signer(b"")
        self._open: dict[str, ZmtpSocket] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._open

    async def open(
        self,
        endpoint: Endpoint,
        names: Mapping[str, str],
        key: bytes,
        timeout: float,
        paused: Collection[str] = (),
    ) -> None:
        """Return when all are connected; those in ``paused`` take no message until `resume`.

        Raises `SocketError` when that does not happen within ``timeout`` seconds.
        """
        self._signer = Signer(key)
        for name, socket_type in _SOCKET_TYPES.items():
            self._open[name] = ZmtpSocket(
                socket_type,
                self._on_iopub if name == "iopub" else partial(self._on_reply, name),
                partial(self._on_oversized, name),
                self._on_lost,
                identity=self._identity,
                max_bytes=self._max_bytes,
            )
        for name in paused:
            self.pause(name)
        await asyncio.gather(*(self._open[name].connect(endpoint, names[name], timeout) for name in _SOCKET_TYPES))

    def close(self) -> None:
        """End the connections; a second call does nothing."""
        for channel in self._open.values():
            channel.close()
        self._open.clear()

    def send(self, name: str, parts: Parts) -> None:
        """Sign and send a message. Raises `SocketError` when the kernel is gone."""
        if name not in self._open:
            raise SocketError("the kernel is gone")
        self._open[name].send(self._signer.frames(parts))

    async def drain(self, name: str) -> None:
        """Return when little enough is unsent, or nothing can be sent any more."""
        if name in self._open:
            await self._open[name].drain()

    def heard_at(self, name: str) -> float:
        """Return when the kernel last sent anything on one of them, also a part of a message; 0 for a closed one."""
        return self._open[name].heard_at if name in self._open else 0.0

    def pause(self, name: str) -> None:
        """Take no message on one of them until `resume`."""
        self._open[name].pause()

    def resume(self) -> None:
        """Take messages on all of them, those first that have waited."""
        for channel in self._open.values():
            channel.resume()
