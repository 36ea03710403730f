"""The state of an image: whether a build would make the same one today."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["ImageState", "ImageStatus"]


class ImageStatus(enum.Enum):
    """An image compared with the one that a build would make now."""

    CURRENT = "up to date"
    OUTDATED = "not up to date"
    FOREIGN = "of another version's guest"
    MISSING = "not built"


@dataclass(frozen=True)
class ImageState:
    """One image; `size` (bytes) is 0 and `created` (RFC 3339) is empty if it is missing."""

    name: str
    reference: str
    status: ImageStatus
    size: int = 0
    created: str = ""
