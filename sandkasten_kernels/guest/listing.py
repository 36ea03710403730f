"""What is said of a file, and of all files of a directory: a bounded page at a time."""

from __future__ import annotations

import os
import stat
from typing import Any

from .handles import Handle

MAX_BYTES, ENTRY_BYTES = 900_000, 120


class Listing(Handle):
    """A directory whose entries are not all listed yet; it owns the descriptor, also when it cannot be made."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        try:
            self._entries = os.scandir(fd)
        except OSError:
            os.close(fd)
            raise

    def page(self) -> tuple[list[dict[str, Any]], bool]:
        """Return the next entries, sorted among themselves, and whether there may be more."""
        entries: list[dict[str, Any]] = []
        listed = 0
        for entry in self._entries:
            try:
                entries.append({"name": entry.name, **about(entry.stat(follow_symlinks=False))})
            except FileNotFoundError:
                continue
            listed += ENTRY_BYTES + 12 * len(entry.name)  # of JSON: what is beyond the BMP takes as much
            if listed > MAX_BYTES:
                break
        entries.sort(key=lambda entry: str(entry["name"]))
        return entries, listed > MAX_BYTES

    def close(self) -> None:
        """Give the descriptors back."""
        super().close()
        self._entries.close()


def about(found: os.stat_result) -> dict[str, Any]:
    """Return ``kind size modified mode`` of a file."""
    mode = found.st_mode
    kinds = ((stat.S_ISREG, "file"), (stat.S_ISDIR, "directory"), (stat.S_ISLNK, "link"))
    kind = next((name for test, name in kinds if test(mode)), "other")
    return {"kind": kind, "size": found.st_size, "modified": found.st_mtime, "mode": mode & 0o777}
