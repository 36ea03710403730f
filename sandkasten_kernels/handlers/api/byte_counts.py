"""ByteCounts: how far a connection's bytes have come.

"No output comes twice" needs to know which messages the other end has received. Tornado counts the bytes of a
stream in private fields only. This module refuses to load when Tornado no longer has them: a default would be a wrong
count, and would go unnoticed.
"""

from __future__ import annotations

import fcntl
import struct
import termios
from typing import Any

import tornado
from tornado.iostream import BaseIOStream, IOStream

__all__ = ["ByteCounts", "check_fields"]

_FIELDS = ("_total_write_index", "_total_write_done_index")


def check_fields(stream_class: type[Any], version: str) -> None:
    """Raise `ImportError` when a stream of this class, of this version of Tornado, lacks a field that is read here."""
    # Instances get the fields in `__init__`, so its code names them; making a stream would need a socket and a loop.
    assigned = stream_class.__init__.__code__.co_names
    if missing := [name for name in _FIELDS if name not in assigned]:
        raise ImportError(
            f"Tornado {version} has no {stream_class.__name__}.{missing[0]}, which counts the bytes that a client has "
            "received: install a version of Tornado that setup.cfg allows"
        )


check_fields(BaseIOStream, tornado.version)


class ByteCounts:
    """The byte counts of one stream."""

    def __init__(self, stream: IOStream) -> None:
        self._stream = stream

    @property
    def written(self) -> int:
        """How many bytes were written to the stream, including those that Tornado still buffers."""
        return int(self._stream._total_write_index)  # noqa: SLF001  # checked above

    def received(self) -> int:
        """Return how many bytes the other end has acknowledged.

        Once the stream is closed, return how many the operating system has taken: TCP no longer says more.
        """
        taken = int(self._stream._total_write_done_index)  # noqa: SLF001  # checked above
        if self._stream.socket is None:
            return taken
        # the same as SIOCOUTQ: bytes in the queue that the other end's TCP has not acknowledged
        (unacknowledged,) = struct.unpack("i", fcntl.ioctl(self._stream.socket, termios.TIOCOUTQ, bytes(4)))
        return taken - int(unacknowledged)
