"""Handles: the files and listings that are open for the gateway, by the names that it chose."""

from __future__ import annotations

import os
import time

from .refusal import FileRefusal

MAX_HANDLES = 512
IDLE_SECONDS = 900.0


class Handle:
    """An open file; owns the descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.used = time.monotonic()

    def close(self) -> None:
        """Close the descriptor. A file without a name is deleted by that."""
        os.close(self.fd)


class Handles:
    """At most `MAX_HANDLES` handles. `keep` closes those that were not used for `IDLE_SECONDS`."""

    def __init__(self) -> None:
        self._open: dict[str, Handle] = {}

    def keep(self, name: str, handle: Handle) -> None:
        """Take over a handle. Raises `FileRefusal` at the limit; the caller must then close the handle."""
        now = time.monotonic()
        for key, other in list(self._open.items()):
            if now - other.used > IDLE_SECONDS:
                del self._open[key]
                other.close()
        if len(self._open) >= MAX_HANDLES:
            raise FileRefusal("TOO_MANY", f"{MAX_HANDLES} files are open already, the limit: try again later")
        self._open[name] = handle

    def find(self, name: str) -> Handle:
        """Return the handle of this name, and count it as used now. Raises `FileRefusal` for an unknown name."""
        handle = self._open.get(name)
        if handle is None:
            raise FileRefusal("FAILED", f"the file was closed: it was not used for {IDLE_SECONDS:.0f} s")
        handle.used = time.monotonic()
        return handle

    def close(self, name: str) -> None:
        """Close the handle of this name; no-op for an unknown name."""
        handle = self._open.pop(name, None)
        if handle is not None:
            handle.close()
