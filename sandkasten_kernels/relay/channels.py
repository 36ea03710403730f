"""KernelChannels: the sockets of one kernel, opened and closed together; it signs the messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from functools import partial

from ..protocol import Endpoint, Parts, Signer, SocketError, ZmtpSocket, zmtp

__all__ = ["KernelChannels", "OversizedNotices"]

NOTICE_SECONDS = 1.0

_SOCKET_TYPES = {"shell": "DEALER", "control": "DEALER", "stdin": "DEALER", "iopub": "SUB"}


class KernelChannels:
    """The channels of a kernel by name. After `close`, `open` connects to the kernel's next process.

    Parameters
    ----------
    identity: ZMTP identity of the gateway's sockets.
    max_bytes: limit of one message.
    on_iopub: called with the frames of each iopub message.
    on_reply: called with the channel and the frames of each other message.
    on_oversized: called with the channel and the first frames of a message above the limit.
    on_lost: called when the kernel's side closes a connection.
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
        """Return when all channels are connected; those in ``paused`` take no message until `resume`.

        Raises `SocketError` when that does not happen within ``timeout`` seconds.
        """
        self._signer = Signer(key)
        for name, socket_type in _SOCKET_TYPES.items():
            self._open[name] = ZmtpSocket(
                socket_type,
                # No signature of a kernel is verified: its endpoint leads into its sandbox alone (0.76 ms per MB).
                self._on_iopub if name == "iopub" else partial(self._on_reply, name),
                partial(self._on_oversized, name),
                self._on_lost,
                # One identity for all: a kernel asks on stdin under the identity of the shell request.
                identity=self._identity,
                max_bytes=self._max_bytes,
            )
        for name in paused:
            self.pause(name)
        await asyncio.gather(*(self._open[name].connect(endpoint, names[name], timeout) for name in _SOCKET_TYPES))

    def close(self) -> None:
        """Close the connections; a second call does nothing."""
        for channel in self._open.values():
            channel.close()
        self._open.clear()

    def send(self, name: str, parts: Parts) -> None:
        """Sign and send a message. Raises `SocketError` when the kernel is gone."""
        if name not in self._open:
            raise SocketError("the kernel is gone")
        self._open[name].send(self._signer.frames(parts))

    async def drain(self, name: str) -> None:
        """Return when the send buffer is below its limit, or the channel is closed."""
        if name in self._open:
            await self._open[name].drain()

    def heard_at(self, name: str) -> float:
        """Return when the kernel last sent a byte on a channel, by the event loop's clock; 0 if it is closed."""
        return self._open[name].heard_at if name in self._open else 0.0

    def pause(self, name: str) -> None:
        """Take no message on a channel until `resume`."""
        self._open[name].pause()

    def resume(self) -> None:
        """Take messages on all channels, first those that have waited."""
        for channel in self._open.values():
            channel.resume()


class OversizedNotices:
    """Makes a sentence of each dropped message above ``max_bytes``; of many, one a second with their number.

    Pure: without I/O.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._count = 0
        self._last = 0.0

    def notice(self, event: zmtp.Oversized, now: float) -> str:
        """Return the sentence; empty when it is less than a second after the last one, and the next one counts this.

        ``now``: seconds of any clock that only goes forward.
        """
        self._count += 1
        if now - self._last < NOTICE_SECONDS:
            return ""
        count, self._count, self._last = self._count, 0, now
        limits = f"{self._max_bytes // 2**20} MiB and {event.max_frames} frames"
        more = f" ({count - 1} more before it)" if count > 1 else ""
        return f"A message of {event.size / 2**20:.0f} MiB was dropped{more}: a message may have {limits}."
