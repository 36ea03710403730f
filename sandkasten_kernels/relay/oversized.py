"""What is said of messages that were too large to be taken; pure, without I/O."""

from __future__ import annotations

from ..protocol import zmtp

__all__ = ["OversizedNotices"]

OVERSIZED_SECONDS = 1.0


class OversizedNotices:
    """Puts into words that a message above ``max_bytes`` was passed over; of many, once a second with their number."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._count = 0
        self._told_at = 0.0

    def words(self, event: zmtp.Oversized, now: float) -> str:
        """Return what is to be said; empty for what is told with a later one. ``now``: in seconds, by any clock."""
        self._count += 1
        if now - self._told_at < OVERSIZED_SECONDS:
            return ""
        count, self._count, self._told_at = self._count, 0, now
        limits = f"{self._max_bytes // 2**20} MiB and {event.max_frames} frames"
        more = f" ({count - 1} more before it)" if count > 1 else ""
        return f"A message of {event.size / 2**20:.0f} MiB was dropped{more}: a message may have {limits}."
