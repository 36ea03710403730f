"""FileInfo: a guest's facts on files, forced into their types. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..protocol import Reply

__all__ = ["FileInfo", "entries_of", "info_of", "natural"]

MAX_SIZE = 2**63 - 1
LAST_TIME = 253_402_300_799.0  # of the year 9999


@dataclass(frozen=True)
class FileInfo:
    """The facts on one path.

    Attributes
    ----------
    kind: ``file``, ``directory``, ``link`` or ``other``.
    modified: seconds since the epoch.
    """

    name: str
    kind: str
    size: int
    modified: float
    mode: int


def entries_of(reply: Reply) -> list[FileInfo]:
    """Return a page of a directory's listing, without names that no entry can have."""
    found = reply.content.get("entries")
    infos = [info_of(entry) for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
    return [info for info in infos if info.name not in ("", ".", "..")]


def info_of(found: dict[str, Any]) -> FileInfo:
    """Return a guest's facts on a file; a value of a wrong type becomes 0 or an empty string."""
    modified = found.get("modified")
    # NaN is not equal to itself; min and max would let it through
    if not isinstance(modified, int | float) or modified != modified:
        modified = 0.0
    return FileInfo(
        name=_name(str(found.get("name", ""))),
        kind=str(found.get("kind"))[:16],
        size=natural(found.get("size")),
        modified=float(min(max(modified, 0), LAST_TIME)),
        mode=natural(found.get("mode")) & 0o777,
    )


def natural(value: Any) -> int:
    """Return a count of bytes or a mode as an integer from 0 to `MAX_SIZE`; 0 for a wrong type."""
    return min(max(value, 0), MAX_SIZE) if isinstance(value, int) else 0


def _name(name: str) -> str:
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return "?"
    # a slash in a name would place an archive's entry in another directory
    return name.replace("/", "?").replace("\0", "?")
