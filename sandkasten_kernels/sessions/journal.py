"""SessionJournal: writes what happens to sessions to the store, the event log and the log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from ..background import BackgroundTasks
from ..errors import SandkastenError, StoreFailed
from ..kernels import Change, KernelRecord
from ..store import Record, Store
from ..telemetry import EventLog, Kind
from .session import Session

__all__ = ["SessionJournal"]

FORGET_SECONDS = 60.0
REFUSED_SECONDS = 1.0


class SessionJournal:
    """Records what happens to sessions. A failed write is logged; the event still counts.

    Only `begun` and `lost` raise, because nobody may learn of a session that the store does not have.
    """

    def __init__(self, store: Store, events: EventLog, log: logging.Logger, tasks: BackgroundTasks) -> None:
        self._store = store
        self._tasks = tasks
        self._events = events
        self._log = log
        self._refused = ("", 0.0)
        self._suppressed = 0

    def setup(self, retention: Callable[[], float], sessions: Iterable[Session]) -> None:
        """Begin to delete the sessions that ended more than ``retention()`` seconds ago, regularly until `cleanup`.

        Each time also store when the running ones were last used, for a later process.
        """
        self._tasks.keep("session journal", partial(self._forget, retention, sessions))

    async def cleanup(self) -> None:
        """Stop deleting; a second call does nothing."""
        await self._tasks.cleanup()

    async def _forget(self, retention: Callable[[], float], sessions: Iterable[Session]) -> None:
        while True:
            for session in sessions:
                self.used(session)
            seconds = retention()
            try:
                self._store.forget(time.time() - seconds)
            except StoreFailed as error:
                self._log.warning("sessions that ended long ago are still in the store: %s", error)
            await asyncio.sleep(min(max(1.0, seconds), FORGET_SECONDS))

    def begun(self, session: Session, stored: KernelRecord | None) -> None:
        """Store a new session, and how its kernel is reached. Raises `StoreFailed`; do not use the session then.

        Parameters
        ----------
        stored: the kernel's record that the store has already, under this session's id.
        """
        self._store.begin(session.record, None if session.kernel.record is stored else session.connection())

    def claimed(self, session: Session) -> None:
        """Record that an owner got a session."""
        self._record("claimed", session, session.record.acquire_detail, source=session.record.acquire_source)
        if session.record.workspace_id:
            self._record("attached", session, "a workspace")
        self._log.info(
            "kernel %s created (%s, %s)", session.id, session.record.kernelspec, session.record.acquire_source
        )

    def refused(self, error: SandkastenError, image: str, workspace_id: str) -> None:
        """Record that a session was refused: one event a second for an error code, with the number left out before."""
        now = time.monotonic()
        # a client that retries in a loop would push every other event out of the log
        if error.code == self._refused[0] and now < self._refused[1] + REFUSED_SECONDS:
            self._suppressed += 1
            return
        self._refused, more, self._suppressed = (error.code, now), self._suppressed, 0
        details = {"code": error.code, "image": image, "workspace_id": workspace_id}
        self._events.record("refused", reason=error.message, **details, more_before=more or None)

    def used(self, session: Session) -> None:
        """Store that a session is in use."""
        # while it is in use, a later process must not take it for idle since its last request
        in_use = session.busy or session.connected
        try:
            self._store.touch(session.id, time.time() if in_use else session.last_activity.timestamp())
        except StoreFailed as error:
            self._log.warning("the last use of session %s cannot be stored: %s", session.id, error)

    def connected(self, session: Session) -> None:
        """Store how the kernel of a session is reached from now on."""
        try:
            self._store.reconnect(session.kernel.id, session.connection())
        except StoreFailed as error:
            self._log.error("the connection to session %s cannot be stored: %s", session.id, error)

    def attached(self, session: Session) -> None:
        """Record that the first client connected."""
        self._record("attached", session, "a client connected")

    def changed(self, session: Session, change: Change, reason: str) -> None:
        """Record that the kernel's process died, restarted or does not answer. The sandbox lives on."""
        self._record(change, session, reason)
        if change != "died":
            return
        session.record = replace(session.record, reason=reason)
        try:
            self._store.note(session.id, reason)
        except StoreFailed as error:
            self._log.error("the reason for the death of kernel %s cannot be stored: %s", session.id, error)

    def adopted(self, session: Session) -> None:
        """Record that the session of an earlier process goes on."""
        self.connected(session)
        self._record("adopted", session, "the gateway was restarted")
        self._log.info("kernel %s goes on (%s)", session.id, session.record.kernelspec)

    def lost(self, record: Record, reason: str) -> None:
        """End the session of an earlier process that cannot go on. Raises `StoreFailed`; it has not ended then."""
        self._store.end(record.id, "crashed", reason, time.time())
        self._events.record("died", session_id=record.id, reason=reason, **_details(record))
        self._log.warning("kernel %s is dead: %s", record.id, reason)

    def gone(self, session: Session, reason: str) -> None:
        """Record that the sandbox of a session ended by itself."""
        self._store_end(session, "crashed", reason)
        self._record("died", session, reason)
        self._log.warning("kernel %s is dead: %s", session.id, reason)

    def ended(self, session: Session, status: str, reason: str) -> None:
        """Record the end of a session: ``expired`` by the culler, ``crashed`` with its sandbox, or ``destroyed``."""
        self._store_end(session, status, reason)
        self._record("culled" if status == "expired" else "ended", session, reason)
        self._log.info("kernel %s ended: %s", session.id, reason)

    def _store_end(self, session: Session, status: str, reason: str) -> None:
        try:
            self._store.touch(session.id, session.last_activity.timestamp())
            self._store.end(session.id, status, reason, time.time())
        except StoreFailed as error:
            self._log.error("the end of session %s cannot be stored: %s", session.id, error)

    def _record(self, kind: Kind, session: Session, reason: str, **details: str) -> None:
        self._events.record(kind, session_id=session.id, reason=reason, **_details(session.record), **details)


def _details(record: Record) -> dict[str, str]:
    return {"image": record.image, "name": record.name, "workspace_id": record.workspace_id}
