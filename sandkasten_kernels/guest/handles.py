"""What is open for the gateway: files and listings, by the names that it gave them."""

from __future__ import annotations

import os
import time

from .refusal import FileRefusal

MAX_HANDLES = 512
IDLE_SECONDS = 900.0


class Handle:
    """A file that is open; it owns the descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.used = time.monotonic()

    def close(self) -> None:
        """Give the descriptor back; a file that has taken no place is gone then."""
        os.close(self.fd)


class Handles:
    """At most `MAX_HANDLES`; one that nobody used for `IDLE_SECONDS` makes room for the next."""

    def __init__(self) -> None:
        self._open: dict[str, Handle] = {}

    def keep(self, name: str, handle: Handle) -> None:
        """Take a handle; it stays the caller's to close where there is no room, which raises `FileRefusal`."""
        now = time.monotonic()
        for key, other in list(self._open.items()):
            if now - other.used > IDLE_SECONDS:
                del self._open[key]
                other.close()
        if len(self._open) >= MAX_HANDLES:
            raise FileRefusal("TOO_MANY", f"{MAX_HANDLES} files are open already")
        self._open[name] = handle

    def find(self, name: str) -> Handle:
        """Return what is open under a name, used just now. Raises `FileRefusal` when nothing is."""
        handle = self._open.get(name)
        if handle is None:
            raise FileRefusal("FAILED", "it was closed: nothing came for too long")
        handle.used = time.monotonic()
        return handle

    def close(self, name: str) -> None:
        """Close what is open under a name; no-op when nothing is."""
        handle = self._open.pop(name, None)
        if handle is not None:
            handle.close()
