"""What a guest kept of its kernel's messages while no gateway was there, asked for a piece at a time."""

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
SILENT_SECONDS, RELIEF_SECONDS = 1.0, 30.0

Backlog = Callable[[str], AsyncIterator[tuple[str, list[bytes]]]]
"""Gives what a kernel has sent while no gateway was there: channels and frames, until it spoke of the request named."""


class Unpacker:
    """Makes messages of a stream in which each has its number of parts before it, and each part its length.

    What comes is bounded: `ValueError` for a number or a length that no message has.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[str, list[bytes]]]:
        """Yield channel and frames of the messages that are complete with ``data``."""
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
            raise ValueError(f"{count} parts are too many")
        for _ in range(count):
            if len(self._buffer) < position + 4:
                return None
            position += 4 + self._number(position)
            if position > self._max_bytes:
                raise ValueError("it is too large")
        return position if len(self._buffer) >= position else None

    def _number(self, position: int) -> int:
        (number,) = struct.unpack_from("<I", self._buffer, position)
        return int(number)


async def read_backlog(guest: GuestLink, marker: str, max_message_bytes: int) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Yield channel and frames of what the guest kept, up to where the kernel spoke of the request ``marker``.

    Where the guest does not come upon that, all it has is taken. It has its own voice back at the end, in any case; a
    guest of a version that kept nothing has nothing to give.
    """
    loop = asyncio.get_running_loop()
    unpacker, taken, silent_since = Unpacker(max_message_bytes), 0, loop.time()
    give_up = loop.time() + RELIEF_SECONDS
    more = True
    while more:
        if loop.time() - silent_since > SILENT_SECONDS:
            marker = ""
        end = taken > MAX_BACKLOG_BYTES or loop.time() > give_up
        try:
            reply = await guest.ask("relief_request", {"marker": marker, "end": end}, CALL_SECONDS)
            for number, message in enumerate(unpacker.feed(reply.data), 1):
                yield message
                if number % MESSAGES_PER_TURN == 0:
                    await asyncio.sleep(0)  # a sandbox may make very many of a few bytes
        except (LinkError, ValueError):
            return
        more = not end and reply.content.get("more") is True
        if reply.data:
            taken, silent_since = taken + len(reply.data), loop.time()
