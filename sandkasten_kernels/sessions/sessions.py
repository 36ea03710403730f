"""Sessions: the claimed kernels and their life, whoever asks for them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ..errors import (
    SandboxFailed,
    SandkastenError,
    SessionEnded,
    UnknownKernel,
)
from ..execution.first_result import FirstResult
from ..kernels.kernel import Kernel, KernelState
from ..kernels.record import Recalled
from ..kernelspecs.kernelspec import Kernelspecs
from ..pool.claims import Claims
from ..pool.launcher import Launcher
from ..pool.pool import Pool
from ..protocol.messages import timestamp
from ..relay.replay import Message
from ..relay.seats import Connection, Seat
from ..store import Record, Store
from ..telemetry.events import EventLog
from ..telemetry.metrics import Metrics
from .culling import SessionCuller
from .journal import SessionJournal
from .maker import SessionMaker
from .policy import SessionPolicy
from .request import SessionRequest
from .session import OWNER, Session, expected_model, info, restored

__all__ = ["Sessions"]


class Sessions:
    """Creates, finds and ends sessions. An owner is told of his own sessions alone.

    Invariant: what the store says of a session was written before anybody was told.
    """

    def __init__(
        self,
        pool: Pool,
        launcher: Launcher,
        specs: Kernelspecs,
        store: Store,
        claims: Claims,
        rules: SessionPolicy,
        events: EventLog,
        log: logging.Logger,
        metrics: Metrics | None = None,
    ) -> None:
        self.started = datetime.now(UTC)
        self.last_activity = self.started
        self.rules = rules
        self._pool = pool
        self._launcher = launcher
        self._specs = specs
        self._store = store
        self._chronicle = SessionJournal(store, events, log)
        self._culler = SessionCuller(lambda session, reason: self._end(session, "expired", reason))
        self._log = log
        self._maker = SessionMaker(claims, launcher, self._chronicle)
        self._metrics = metrics or Metrics()
        self._sessions: dict[str, Session] = {}
        self._expected: dict[str, Record] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._sessions

    def setup(self) -> None:
        """Begin to write down how sessions are used, and to forget those that ended long ago."""
        self._chronicle.forget_after(lambda: self.rules.retention_seconds, self)

    async def cleanup(self) -> None:
        """End every session; no-op when there is none."""
        self._chronicle.cleanup()
        self._culler.cleanup()
        for session in list(self._sessions.values()):
            self._end(session, "destroyed", "the gateway stopped")

    async def leave(self) -> None:
        """Leave every session to the next process of the gateway; no-op when there is none."""
        self._chronicle.cleanup()
        self._culler.cleanup()
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            self._chronicle.used(session)
            if not session.released:
                session.kernel.leave()

    async def create(self, wanted: SessionRequest, owner: str = OWNER) -> Session:
        """Return a new session on a live kernel that has its environment.

        Raises `UnknownKernelspec`, `LimitReached`, `NoCapacity`, `InvalidWorkspace`, `SandboxFailed`, `EngineError`.
        """
        spec = self._specs.get(wanted.kernelspec)
        began = time.monotonic()
        try:
            living = sum(session.owner == owner and not session.crashed for session in self._sessions.values())
            session = await self._maker.make(spec, wanted, owner, living, self.rules)
            self._take_in(session)
            self._begin(session)
        except SandkastenError as error:
            self._chronicle.refused(error, spec.image, wanted.workspace_id)
            raise
        took = time.monotonic() - began
        self._metrics.claimed(spec.image, session.acquire_source, took)
        session.first_result = FirstResult(took, self._metrics.first_results.labels(spec.image).observe)
        return session

    def _begin(self, session: Session) -> None:
        if not session.kernel.sandbox.alive:
            self._end(session, "crashed", "its sandbox ended")
            raise SandboxFailed("the sandbox ended while it was claimed: try again", retry_after=1)
        self._culler.watch(session)
        asyncio.get_running_loop().call_later(0, self._chronicle.claimed, session)  # when the owner has its answer

    def _take_in(self, session: Session) -> None:
        kernel = session.kernel
        self._sessions[session.id] = session
        kernel.on_connected(lambda: self._chronicle.connected(session))
        kernel.link.on_new_session = lambda: self._chronicle.connected(session)
        if kernel.workspace:
            kernel.workspace.session_id = session.id
        kernel.on_change(lambda change, reason: self._chronicle.changed(session, change, reason))
        kernel.on_gone(lambda: self._gone(session))

    def expect(self, record: Record) -> None:
        """A session that an earlier process left is just being adopted: it is there, and cannot be used yet."""
        self._expected[record.id] = record

    def restored(self, record: Record, kernel: Kernel, clients: Mapping[str, str]) -> Session:
        """Return a session that an earlier process left, with the seats of its clients; `go_on` lets it be used."""
        session = restored(record, kernel)
        session.seats.restore(clients)
        kernel.on_change(lambda change, reason: self._chronicle.changed(session, change, reason))
        return session

    def go_on(self, session: Session, record: Record, recalled: Recalled) -> None:
        """Go on with a restored session, whose kernel is reached again."""
        self._expected.pop(record.id, None)
        session.resumed(record, recalled)
        self._pool.adopt_claimed(session.kernel)
        self._take_in(session)
        self._chronicle.adopted(session)
        self._culler.watch(session)
        if session.kernel.state is KernelState.DEAD and not session.kernel.sandbox.alive:
            self._gone(session)

    def lost(self, record: Record, reason: str) -> None:
        """A session that an earlier process left cannot go on. Raises `StoreFailed`."""
        self._expected.pop(record.id, None)
        self._chronicle.lost(record, reason)

    def _check_expected(self, session_id: str) -> None:
        if session_id in self._expected:
            raise SandboxFailed("the gateway is back and just takes this session over: try again", retry_after=1)

    def get(self, session_id: str, owner: str = OWNER) -> Session:
        """Return a session that has not been ended; its sandbox may be gone. Raises `UnknownKernel`."""
        session = self._sessions.get(session_id)
        self._check_expected(session_id)
        if session is None or session.owner != owner:
            raise UnknownKernel(self._why_unknown(session_id, owner))
        return session

    def _why_unknown(self, session_id: str, owner: str) -> str:
        record = self._store.get(session_id)
        if record is None or record.owner != owner:
            return f"there is no kernel {session_id[:64]!r}"
        return f"this kernel has ended ({record.status}): {record.reason}"

    def running(self, session_id: str, owner: str = OWNER) -> Session:
        """Return a session that can be used, and renew its life. Raises `UnknownKernel`, `SessionEnded`."""
        session = self._sessions.get(session_id)
        self._check_expected(session_id)
        if session is None or session.owner != owner or session.crashed:
            record = self._store.get(session_id)
            if record is None or record.owner != owner:
                raise UnknownKernel(f"there is no session {session_id[:64]!r}")
            raise SessionEnded(f"this session has ended ({record.status}): {record.reason}")
        session.use()
        self._chronicle.used(session)
        return session

    def extend(self, session_id: str, ttl_seconds: int | None, owner: str = OWNER) -> None:
        """Renew a session's life now, and let it be ``ttl_seconds`` after each use; 0 is what is usual.

        None leaves its own. Raises as `running`, and `StoreFailed`, with nothing changed.
        """
        session = self.running(session_id, owner)
        if ttl_seconds is not None:
            ttl = ttl_seconds or self.rules.usual_ttl(session.origin, session.kernel.spec)
            self._store.save(replace(session.record(), ttl_seconds=ttl))
            session.lifetime = replace(session.lifetime, ttl=timedelta(seconds=ttl))
            self._culler.watch(session)

    def models(self, owner: str = OWNER) -> list[dict[str, Any]]:
        """Return the model of every kernel, oldest first."""
        late = [expected_model(record) for record in self._expected.values() if record.owner == owner]
        return [session.model() for session in self._sessions.values() if session.owner == owner] + late

    def info(self, session_id: str, owner: str = OWNER) -> dict[str, Any]:
        """Return a session as ``/v1`` shows it, running or lately ended. Raises `UnknownKernel`."""
        session = self._sessions.get(session_id)
        record = session.record() if session and not session.crashed else self._store.get(session_id)
        if record is None or record.owner != owner:
            raise UnknownKernel(f"there is no session {session_id[:64]!r}")
        return info(record, session)

    def infos(self, labels: Set[tuple[str, str]], owner: str = OWNER) -> list[dict[str, Any]]:
        """Return the sessions that have these labels, newest first, running or lately ended, as `Store.records`."""
        return [info(record, self._sessions.get(record.id)) for record in self._store.records(owner, labels)]

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._sessions.values()))

    def status(self) -> dict[str, Any]:
        """Return ``started last_activity kernels connections`` of the whole gateway."""
        for session in self._sessions.values():
            self.last_activity = max(self.last_activity, session.last_activity)
        return {
            "started": timestamp(self.started),
            "last_activity": timestamp(self.last_activity),
            "kernels": len(self._sessions),
            "connections": sum(session.kernel.link.connections for session in self._sessions.values()),
        }

    def end(self, session_id: str, reason: str, owner: str = OWNER) -> None:
        """End a session: its clients are told and its sandbox is destroyed; no-op for one that has ended lately.

        Raises `UnknownKernel`.
        """
        self._check_expected(session_id)
        if (session := self._sessions.get(session_id)) is not None and session.owner == owner:
            self._end(session, "destroyed", reason)
        else:
            self.info(session_id, owner)

    async def stats(self, session_id: str, owner: str = OWNER) -> dict[str, Any]:
        """Return ``memory_bytes memory_limit cpu_usage_usec`` and what else the engine knows. Raises as `running`."""
        return await self._launcher.stats(self.running(session_id, owner).kernel)

    def _end(self, session: Session, status: str, reason: str) -> None:
        del self._sessions[session.id]
        self._chronicle.ended(session, status, reason)
        self.last_activity = max(self.last_activity, session.last_activity)
        self._culler.forget(session)
        session.kernel.close(reason)
        for client in tuple(session.kernel.link.clients):
            client.end(reason)
        self._release(session)

    def attach(self, session: Session, connection: Connection, session_id: str) -> Seat:
        """Deliver what the session's kernel says to ``connection``, in the place of an older one of ``session_id``."""
        seat = session.seats.take(connection, session_id)
        if not session.greeted:
            session.greeted = True
            self._chronicle.attached(session)
        return seat

    def detach(self, session: Session, seat: Seat, connection: Connection, undelivered: Sequence[Message]) -> None:
        """Stop delivering to ``connection``; its session's idle time begins when it was the last.

        What it has not delivered, and what comes now, is kept a while for the next connection of its seat.
        """
        if session.id not in self._sessions:
            return
        session.seats.leave(seat, connection, undelivered)
        if not session.kernel.link.connections:
            session.kernel.link.last_activity = datetime.now(UTC)

    def _gone(self, session: Session) -> None:
        """The sandbox is gone: its place is free at once, the dead kernel stays listed until it is deleted or idle."""
        if session.id in self._sessions:
            session.crashed = datetime.now(UTC)
            self._chronicle.gone(session, session.kernel.reason)
            self._release(session)

    def _release(self, session: Session) -> None:
        if not session.released:
            session.released = True
            self._pool.release(session.kernel)
