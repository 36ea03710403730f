"""The backlog: messages of a kernel that its guest has kept while no gateway was connected."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Iterator

from .calls import LinkError
from .guest_link import GuestLink

__all__ = ["MAX_BACKLOG_BYTES", "Backlog", "Unpacker", "read_backlog"]

MAX_BACKLOG_BYTES = 256 * 1024 * 1024
MAX_PARTS = 1024
MESSAGES_PER_TURN = 200
CALL_SECONDS = 10.0
SILENT_SECONDS, BACKLOG_SECONDS = 1.0, 30.0

Backlog = Callable[[str], AsyncIterator[tuple[str, list[bytes]]]]
"""Yields channel and frames of each message in the backlog, up to the first about the request with the given id."""


class Unpacker:
    """Unpacks messages from a byte stream: each has the number of its parts before it, and each part its length.

    `feed` raises `ValueError` for a number or a length above the limits.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[str, list[bytes]]]:
        """Append ``data``, and yield channel and frames of each message that is complete now."""
        self._buffer += data
        while (end := self._end()) is not None:
            parts, position = [], 4
            while position < end:
                size = self._number(position)
                parts.append(bytes(self._buffer[position + 4 : position + 4 + size]))
                position += 4 + size
            del self._buffer[:end]
            if parts:
                yield parts[0].decode("ascii", "replace"), parts[1:]

    def _end(self) -> int | None:
        """Return where the first message ends; None when it is not complete."""
        if len(self._buffer) < 4:
            return None
        count, position = self._number(0), 4
        if count > MAX_PARTS:
            raise ValueError(f"a message has {count} parts, more than {MAX_PARTS}")
        for _ in range(count):
            if len(self._buffer) < position + 4:
                return None
            position += 4 + self._number(position)
            if position > self._max_bytes:
                raise ValueError(f"a message has more than {self._max_bytes} bytes")
        return position if len(self._buffer) >= position else None

    def _number(self, position: int) -> int:
        (number,) = struct.unpack_from("<I", self._buffer, position)
        return int(number)


async def read_backlog(guest: GuestLink, marker: str, max_message_bytes: int) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Read the backlog, and yield channel and frames of each message, up to the first about the request ``marker``.

    If that does not come, everything is read, within limits of time and bytes. At the end the guest publishes by
    itself again. A guest of a version without a backlog yields nothing.
    """
    loop = asyncio.get_running_loop()
    unpacker, taken, silent_since = Unpacker(max_message_bytes), 0, loop.time()
    give_up = loop.time() + BACKLOG_SECONDS
    more = True
    while more:
        if loop.time() - silent_since > SILENT_SECONDS:
            marker = ""  # the guest waits for the marker no longer, and ends when it has nothing left
        end = taken > MAX_BACKLOG_BYTES or loop.time() > give_up
        try:
            reply = await guest.ask("relief_request", {"marker": marker, "end": end}, CALL_SECONDS)
            for number, message in enumerate(unpacker.feed(reply.data), 1):
                yield message
                if number % MESSAGES_PER_TURN == 0:
                    await asyncio.sleep(0)  # a sandbox may send very many messages of a few bytes
        # The link works without the rest of the backlog too, so the kernel is not given up.
        except (LinkError, ValueError):
            return
        more = not end and reply.content.get("more") is True
        if reply.data:
            taken, silent_since = taken + len(reply.data), loop.time()
