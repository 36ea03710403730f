"""EventLog: events of sessions and sandboxes, in the store, with a limit on their number."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from ..errors import StoreFailed
from ..protocol import timestamp
from ..store import Store
from .metrics import Metrics

__all__ = ["KINDS", "MAX_EVENTS", "Event", "EventLog", "Kind"]

MAX_EVENTS, TRIM_EVERY = 10_000, 100
MAX_REASON, MAX_DETAILS_BYTES = 1000, 4096

Kind = Literal[
    "created",
    "claimed",
    "attached",
    "restarted",
    "died",
    "unresponsive",
    "culled",
    "ended",
    "refused",
    "adopted",
    "removed",
]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class Event:
    """One event. ``id`` grows by one with each; ``session_id`` is empty for an event without a session."""

    id: int
    time: float
    kind: str
    session_id: str
    reason: str
    details: str

    def model(self) -> dict[str, Any]:
        """Return the event as ``/v1/events`` shows it."""
        return {
            "id": self.id,
            "time": timestamp(datetime.fromtimestamp(self.time, UTC)),
            "kind": self.kind,
            "session_id": self.session_id,
            "reason": self.reason,
            "details": json.loads(self.details),
        }


class EventLog:
    """Keeps the last `MAX_EVENTS` events, and up to `TRIM_EVERY` more. An id is never used twice.

    Attributes
    ----------
    last: id of the newest event; 0 before the first.
    """

    def __init__(self, store: Store, log: logging.Logger, metrics: Metrics | None = None) -> None:
        self._store = store
        self._log = log
        self._metrics = metrics or Metrics()
        self._changed = asyncio.Event()
        # the counter of AUTOINCREMENT stays when the newest events are deleted
        (row,) = store.query("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'", ())
        self.last: int = row[0]

    def record(self, kind: Kind, *, session_id: str = "", reason: str = "", **details: Any) -> None:
        """Store an event, and wake those that `wait`. A failed write is logged. Long values are cut."""
        self._metrics.happened(kind, reason, str(details.get("code", "")))
        text = json.dumps({name: value for name, value in details.items() if value not in (None, "")}, default=str)
        if len(text) > MAX_DETAILS_BYTES:
            text = json.dumps({"left_out": f"more than {MAX_DETAILS_BYTES} bytes"})
        statement = "INSERT INTO events (time, kind, session_id, reason, details) VALUES (?, ?, ?, ?, ?) RETURNING id"
        # a reason from a sandbox may have lone surrogates, which SQLite cannot store
        shown = reason[:MAX_REASON].encode(errors="replace").decode()
        try:
            ((self.last,),) = self._store.query(statement, (time.time(), kind, session_id, shown, text))
            if self.last % TRIM_EVERY == 0:
                self._store.query("DELETE FROM events WHERE id <= ?", (self.last - MAX_EVENTS,))
        except StoreFailed as error:
            self._log.warning("event %s of session %r (%s) cannot be stored: %s", kind, session_id, shown, error)
        # an event that is set stays set: later waiters need a new one
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def since(self, event_id: int, limit: int) -> list[Event]:
        """Return the first ``limit`` events with a greater id, oldest first. Raises `StoreFailed`."""
        statement = "SELECT id, time, kind, session_id, reason, details FROM events WHERE id > ? ORDER BY id LIMIT ?"
        return [Event(*row) for row in self._store.query(statement, (event_id, limit))]

    async def wait(self, event_id: int) -> None:
        """Return as soon as there is an event with a greater id."""
        while self.last <= event_id:
            await self._changed.wait()
