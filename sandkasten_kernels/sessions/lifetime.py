"""Lifetime: how long a session lives, and why it ends. Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

from ..store import Record

__all__ = ["FOR_EVER", "Lifetime"]

FOR_EVER = datetime(9999, 12, 31, tzinfo=UTC)
BUSY_AGAIN = timedelta(seconds=5)
"""A session that is too old, but busy, is checked again after this time."""


@dataclass(frozen=True, kw_only=True)
class Lifetime:
    """The limits of a session's life. The fields are those of a `Record`, under the same names.

    Attributes
    ----------
    ttl_seconds: the session ends this long after its last use; 0 for no limit.
    max_lifetime_seconds: it ends this long after its creation, used or not; 0 for no limit.
    cull_connected: whether ``ttl_seconds`` also counts while a client is connected.
    cull_busy: whether a session ends while something runs; if not, a session that is too old ends when it is idle.
    """

    ttl_seconds: float
    max_lifetime_seconds: float = 0.0
    cull_connected: bool = False
    cull_busy: bool = False

    @classmethod
    def of(cls, record: Record) -> Lifetime:
        """Return the lifetime of a stored session."""
        return cls(**{field.name: getattr(record, field.name) for field in fields(cls)})

    def end(self, created: datetime, used: datetime, now: datetime, *, busy: bool, connected: bool) -> datetime:
        """Return when a session ends if nothing about it changes; `FOR_EVER` for never.

        Parameters
        ----------
        created, used: when the session was made and last used.
        """
        spared = busy and not self.cull_busy
        if spared or (connected and not self.cull_connected):
            used = now
        by_use = used + timedelta(seconds=self.ttl_seconds) if self.ttl_seconds else FOR_EVER
        by_age = created + timedelta(seconds=self.max_lifetime_seconds) if self.max_lifetime_seconds else FOR_EVER
        return min(by_use, max(by_age, now + BUSY_AGAIN) if spared else by_age)

    def reason(self, created: datetime, now: datetime, *, busy: bool, connected: bool) -> str:
        """Return why a session that was made at ``created`` ends ``now``, as its clients read it."""
        if self.max_lifetime_seconds and now >= created + timedelta(seconds=self.max_lifetime_seconds):
            age = f"as old as max_lifetime_seconds, {self.max_lifetime_seconds:g} s"
            return f"{age}, though it was busy (cull_busy)" if busy else age
        ttl = f"{self.ttl_seconds:g} s"
        if busy:
            return f"busy, but not used for {ttl} (cull_busy)"
        return f"idle for {ttl}, though a client was connected (cull_connected)" if connected else f"idle for {ttl}"
