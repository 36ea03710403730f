"""Chronicle: what becomes of sessions, written down in the store, the events and the log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from ..errors import SandkastenError, StoreFailed
from ..kernels.kernel import Change
from ..store import Record, Store
from ..telemetry.events import EventLog, Kind
from .session import Session

__all__ = ["SessionJournal"]

FORGET_SECONDS = 60.0
REFUSED_SECONDS = 1.0


class SessionJournal:
    """Writes down what has happened to sessions. What cannot be stored has happened all the same, and is logged."""

    def __init__(self, store: Store, events: EventLog, log: logging.Logger) -> None:
        self._store = store
        self._events = events
        self._log = log
        self._refused = ("", 0.0)
        self._not_told = 0
        self._forgetting: asyncio.TimerHandle | None = None

    def forget_after(self, retention: Callable[[], float], sessions: Iterable[Session]) -> None:
        """Forget the sessions that ended more than ``retention()`` seconds ago, now and ever again until `cleanup`.

        As often it is noted when those that run were used, for a later process.
        """
        for session in sessions:
            self.used(session)
        seconds = retention()
        try:
            self._store.forget(time.time() - seconds)
        except StoreFailed as error:
            self._log.warning("sessions that ended long ago are not forgotten yet: %s", error)
        wait = min(max(1.0, seconds), FORGET_SECONDS)
        self._forgetting = asyncio.get_running_loop().call_later(wait, self.forget_after, retention, sessions)

    def cleanup(self) -> None:
        """Forget nothing more; a second call does nothing."""
        if self._forgetting:
            self._forgetting.cancel()

    def begun(self, session: Session) -> None:
        """A session is there, and how its kernel is reached. Raises `StoreFailed`: then nobody may be told of it."""
        self._store.save(session.record())
        self._store.connect(session.id, session.connection())

    def claimed(self, session: Session) -> None:
        """A session was given to its owner."""
        self._record("claimed", session, session.acquire_detail, source=session.acquire_source)
        if session.workspace_id:
            self._record("attached", session, "a workspace")
        self._log.info("kernel %s created (%s, %s)", session.id, session.kernel.spec.name, session.acquire_source)

    def refused(self, error: SandkastenError, image: str, workspace_id: str) -> None:
        """A session that was asked for was not made; of many for the same cause one a second is told."""
        now = time.monotonic()
        if error.code == self._refused[0] and now < self._refused[1] + REFUSED_SECONDS:
            self._not_told += 1
            return
        self._refused, more, self._not_told = (error.code, now), self._not_told, 0
        details = {"code": error.code, "image": image, "workspace_id": workspace_id}
        self._events.record("refused", reason=error.message, **details, more_before=more or None)

    def used(self, session: Session) -> None:
        """Somebody uses a session."""
        now = session.busy or session.connected
        try:
            self._store.touch(session.id, time.time() if now else session.last_activity.timestamp())
        except StoreFailed as error:
            self._log.warning("the use of session %s is not stored: %s", session.id, error)

    def connected(self, session: Session) -> None:
        """The kernel of a session is reached in another way from now on."""
        try:
            self._store.connect(session.id, session.connection())
        except StoreFailed as error:
            self._log.error("how to reach session %s is not stored: %s", session.id, error)

    def attached(self, session: Session) -> None:
        """The first client of a session is there."""
        self._record("attached", session, "a client connected")

    def changed(self, session: Session, change: Change, reason: str) -> None:
        """The kernel's process died, was restarted or does not answer; its sandbox lives on."""
        self._record(change, session, reason)
        if change != "died":
            return
        session.reason = reason
        try:
            self._store.note(session.id, reason)
        except StoreFailed as error:
            self._log.error("why the kernel of session %s died is not stored: %s", session.id, error)

    def adopted(self, session: Session) -> None:
        """A session that an earlier process left goes on."""
        self.connected(session)
        self._record("adopted", session, "the gateway was restarted")
        self._log.info("kernel %s goes on (%s)", session.id, session.kernel.spec.name)

    def lost(self, record: Record, reason: str) -> None:
        """A session that an earlier process left cannot go on. Raises `StoreFailed`: then it is not lost yet."""
        self._store.end(record.id, "crashed", reason, time.time())
        told = {"image": record.image, "name": record.name, "workspace_id": record.workspace_id}
        self._events.record("died", session_id=record.id, reason=reason, **told)
        self._log.warning("kernel %s is dead: %s", record.id, reason)

    def gone(self, session: Session, reason: str) -> None:
        """The sandbox of a session is gone, by itself."""
        self._note_end(session, "crashed", reason)
        self._record("died", session, reason)
        self._log.warning("kernel %s is dead: %s", session.id, reason)

    def ended(self, session: Session, status: str, reason: str) -> None:
        """A session was ended: ``expired`` when its time was over, else ``destroyed``."""
        self._note_end(session, status, reason)
        self._record("culled" if status == "expired" else "ended", session, reason)
        self._log.info("kernel %s ended: %s", session.id, reason)

    def _note_end(self, session: Session, status: str, reason: str) -> None:
        try:
            self._store.touch(session.id, session.last_activity.timestamp())
            self._store.end(session.id, status, reason, time.time())
        except StoreFailed as error:
            self._log.error("the end of session %s is not stored: %s", session.id, error)

    def _record(self, kind: Kind, session: Session, reason: str, **details: str) -> None:
        told = {"image": session.kernel.spec.image, "name": session.name, "workspace_id": session.workspace_id}
        self._events.record(kind, session_id=session.id, reason=reason, **told, **details)
