"""How long a session lives, and why it ends: pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

__all__ = ["FOR_EVER", "Lifetime"]

FOR_EVER = datetime(9999, 12, 31, tzinfo=UTC)
BUSY_AGAIN = timedelta(seconds=5)
"""So long after a look a session that is too old, but busy, is looked at again."""


@dataclass(frozen=True)
class Lifetime:
    """How long a session lives.

    Attributes
    ----------
    ttl: after its last use; zero for ever.
    longest: after its creation, however it is used; zero for ever.
    cull_connected: whether a session ends by its ttl while a client is connected.
    cull_busy: whether a session ends while something runs; without it one that is too old ends when that is done.
    """

    ttl: timedelta
    longest: timedelta = timedelta(0)
    cull_connected: bool = False
    cull_busy: bool = False

    def end(self, created: datetime, used: datetime, now: datetime, *, busy: bool, connected: bool) -> datetime:
        """Return when a session ends that was made and last used at these times, if it stays as it is."""
        spared = busy and not self.cull_busy
        if spared or (connected and not self.cull_connected):
            used = now
        by_use = used + self.ttl if self.ttl else FOR_EVER
        by_age = created + self.longest if self.longest else FOR_EVER
        return min(by_use, max(by_age, now + BUSY_AGAIN) if spared else by_age)

    def reason(self, created: datetime, now: datetime, *, busy: bool, connected: bool) -> str:
        """Say why a session that was made at this time is ended now."""
        if self.longest and now >= created + self.longest:
            words = f"as old as max_lifetime_seconds, {self.longest.total_seconds():g} s"
            return f"{words}, though it was busy (cull_busy)" if busy else words
        ttl = f"{self.ttl.total_seconds():g} s"
        if busy:
            return f"busy, but not used for {ttl} (cull_busy)"
        return f"idle for {ttl}, though a client was connected (cull_connected)" if connected else f"idle for {ttl}"
