"""Listing: the entries of a directory in bounded pages, and the properties of a file."""

from __future__ import annotations

import os
import stat
from typing import Any

from .handles import Handle

MAX_BYTES, ENTRY_BYTES = 900_000, 120


class Listing(Handle):
    """A directory that is being listed. Owns the descriptor, and closes it also when its construction fails."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        try:
            self._entries = os.scandir(fd)
        except OSError:
            os.close(fd)
            raise

    def page(self) -> tuple[list[dict[str, Any]], bool]:
        """Return the next entries, sorted within the page, and whether there may be more."""
        entries: list[dict[str, Any]] = []
        listed = 0
        for entry in self._entries:
            try:
                entries.append({"name": entry.name, **about(entry.stat(follow_symlinks=False))})
            except FileNotFoundError:
                continue
            listed += ENTRY_BYTES + 12 * len(entry.name)  # in JSON, a character beyond the BMP takes 12 bytes
            if listed > MAX_BYTES:
                break
        entries.sort(key=lambda entry: str(entry["name"]))
        return entries, listed > MAX_BYTES

    def close(self) -> None:
        """Close the descriptors."""
        super().close()
        self._entries.close()


def about(found: os.stat_result) -> dict[str, Any]:
    """Return ``kind size modified mode`` of a file."""
    mode = found.st_mode
    kinds = ((stat.S_ISREG, "file"), (stat.S_ISDIR, "directory"), (stat.S_ISLNK, "link"))
    kind = next((name for test, name in kinds if test(mode)), "other")
    return {"kind": kind, "size": found.st_size, "modified": found.st_mtime, "mode": mode & 0o777}
