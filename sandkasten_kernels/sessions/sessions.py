"""Sessions: the claimed kernels and their life, for both APIs."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ..errors import LimitReached, SandboxFailed, SandkastenError, SessionEnded, UnknownKernel
from ..execution import FirstResult
from ..kernels import KernelState
from ..kernelspecs import Kernelspec, Kernelspecs
from ..pool import Claims, Launcher, Pool
from ..relay import Connection, Message, Seat
from ..store import Record, Store
from ..telemetry import Metrics
from .culling import SessionCuller
from .journal import SessionJournal
from .policy import SessionPolicy
from .request import SessionRequest, directory
from .returning import ReturningSessions
from .session import OWNER, Session

__all__ = ["Sessions"]


class Sessions:
    """Creates, finds and ends sessions. An owner sees his own sessions only.

    Invariants: a session is in the store before anybody learns of it; an owner never has more sessions than the policy
    allows, those that are being made counted.

    Attributes
    ----------
    started: when this process of the gateway began.
    last_activity: when the sessions that have ended were last used.
    policy: the operator's settings for sessions; it may be replaced at any time.
    returning: the sessions of an earlier process that the gateway is still adopting.
    """

    def __init__(
        self,
        pool: Pool,
        launcher: Launcher,
        specs: Kernelspecs,
        store: Store,
        claims: Claims,
        policy: SessionPolicy,
        journal: SessionJournal,
        metrics: Metrics | None = None,
    ) -> None:
        self.started = self.last_activity = datetime.now(UTC)
        self.policy = policy
        self.returning = ReturningSessions()
        self._pool = pool
        self._launcher = launcher
        self._specs = specs
        self._store = store
        self._claims = claims
        self._journal = journal
        self._culler = SessionCuller(lambda session, reason: self._end(session, "expired", reason))
        self._metrics = metrics or Metrics()
        self._sessions: dict[str, Session] = {}
        self._making: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._sessions

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._sessions.values()))

    def setup(self) -> None:
        """Begin to store when sessions are used, and to forget those that ended long ago."""
        self._journal.setup(lambda: self.policy.retention_seconds, self)

    async def cleanup(self) -> None:
        """End every session; no-op when there is none."""
        await self._journal.cleanup()
        self._culler.cleanup()
        for session in list(self._sessions.values()):
            self._end(session, "destroyed", "the gateway stopped")

    async def leave(self) -> None:
        """Leave every session to the next process of the gateway; no-op when there is none."""
        await self._journal.cleanup()
        self._culler.cleanup()
        # first the dict: closing links must not end sessions that the next process takes over
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            self._journal.used(session)
            if not session.crashed:
                session.kernel.leave()

    async def create(self, request: SessionRequest, owner: str = OWNER) -> Session:
        """Return a new session on a live kernel that has its environment.

        Raises `UnknownKernelspec`, `InvalidImage`, `LimitReached`, `NoCapacity`, `InvalidWorkspace`, `SandboxFailed`,
        `EngineError`, `StoreFailed`.
        """
        spec = request.spec(self._specs)
        began = time.monotonic()
        try:
            session = await self._make(spec, request, owner)
            self._add(session)
            session.kernel.on_change(partial(self._journal.changed, session))
            # a sandbox that ended before `_add` has called no callback of it
            if not session.kernel.sandbox.alive:
                self._end(session, "crashed", "its sandbox ended")
                raise SandboxFailed("the sandbox ended while it was claimed: try again", retry_after=1)
        except SandkastenError as error:
            self._journal.refused(error, spec.image, request.workspace_id)
            raise
        # the owner waits for the answer: the event is written after it
        asyncio.get_running_loop().call_later(0, self._journal.claimed, session)
        took = time.monotonic() - began
        self._metrics.claimed(spec.image, session.record.acquire_source, took)
        session.first_result = FirstResult(took, self._metrics.first_results.labels(spec.image).observe)
        return session

    async def _make(self, spec: Kernelspec, request: SessionRequest, owner: str) -> Session:
        """Return a new session that is stored, and whose kernel has its environment."""
        policy = self.policy
        having = sum(one.record.owner == owner and not one.crashed for one in self) + self._making[owner]
        if having >= policy.max_per_owner:
            limit = f"limits.max_sessions_per_owner, {policy.max_per_owner}"
            raise LimitReached(f"this owner has {having} sessions, which is {limit}: end one", retry_after=5)
        self._claims.check_room()
        if policy.persist_by_default and not request.workspace_id:
            request = replace(request, workspace_id=str(uuid.uuid4()))
        self._making[owner] += 1  # before anything is awaited: requests at the same time must not pass the limit
        try:
            acquired, attached = await self._claims.acquire(spec, request.workspace_id)
            kernel = acquired.kernel
            try:
                if request.mem_limit_mb or request.cpu_limit:
                    await self._launcher.resize(kernel, request.cpu_limit, request.mem_limit_mb)
                detail = await kernel.prepare(request.env, directory(request.env))
                record = policy.record(request, kernel, owner, acquired.source, attached, detail)
                self._journal.begun(session := Session(kernel, record), acquired.stored)
                return session
            except BaseException:
                # a cancelled request too: its client has left, and nobody else knows the sandbox
                self._claims.release(kernel)
                raise
        finally:
            self._making[owner] -= 1

    def _add(self, session: Session) -> None:
        """List a session, and follow what happens to its kernel."""
        kernel = session.kernel
        self._sessions[session.id] = session
        kernel.on_connected(lambda: self._journal.connected(session))
        kernel.link.on_new_session(lambda: self._journal.connected(session))
        if kernel.workspace:
            kernel.workspace.session_id = session.id
        kernel.on_gone(lambda: self._gone(session))
        self._culler.watch(session)

    def adopt(self, session: Session) -> None:
        """Take in a session of an earlier process with its connected kernel: clients can use it from now on."""
        self.returning.discard(session.id)
        self._pool.adopt_claimed(session.kernel)
        self._add(session)
        self._journal.adopted(session)
        # it may have died before `_add` set the callback
        if session.kernel.state is KernelState.DEAD and not session.kernel.sandbox.alive:
            self._gone(session)

    def get(self, session_id: str, owner: str = OWNER) -> Session:
        """Return a session that nobody has ended; its sandbox may be gone. Raises `UnknownKernel`."""
        session = self._sessions.get(session_id)
        self.returning.check(session_id)
        if session is not None and session.record.owner == owner:
            return session
        record = self._store.get(session_id)
        # one message for both: nobody learns whether another owner's id exists
        if record is None or record.owner != owner:
            raise UnknownKernel(f"there is no kernel {session_id[:64]!r}")
        raise UnknownKernel(f"this kernel has ended ({record.status}): {record.reason}")

    def running(self, session_id: str, owner: str = OWNER) -> Session:
        """Return a session that can be used; its ttl begins again. Raises `UnknownKernel`, `SessionEnded`."""
        session = self._sessions.get(session_id)
        self.returning.check(session_id)
        if session is None or session.record.owner != owner or session.crashed:
            record = self._store.get(session_id)
            if record is None or record.owner != owner:
                raise UnknownKernel(f"there is no session {session_id[:64]!r}")
            raise SessionEnded(f"this session has ended ({record.status}): {record.reason}")
        session.use()
        self._journal.used(session)
        return session

    def extend(self, session_id: str, ttl_seconds: int | None, owner: str = OWNER) -> None:
        """Begin a session's ttl again, and change it: 0 for the policy's default, None for no change.

        Raises as `running`, and `StoreFailed`; then nothing is changed.
        """
        session = self.running(session_id, owner)
        if ttl_seconds is not None:
            ttl = ttl_seconds or self.policy.default_ttl(session.record.origin, session.kernel.spec)
            record = replace(session.current_record(), ttl_seconds=ttl)
            self._store.save(record)
            session.record = record
            self._culler.watch(session)

    def find(self, session_id: str, owner: str = OWNER) -> tuple[Record, Session | None]:
        """Return what is known of a session, running or lately ended, and the session itself unless it has ended.

        Raises `UnknownKernel`.
        """
        session = self._sessions.get(session_id)
        record = session.current_record() if session and not session.crashed else self._store.get(session_id)
        if record is None or record.owner != owner:
            raise UnknownKernel(f"there is no session {session_id[:64]!r}")
        return record, session

    def search(self, labels: Set[tuple[str, str]], owner: str = OWNER) -> list[tuple[Record, Session | None]]:
        """Return what `find` does of an owner's sessions that have these labels, newest first, as `Store.records`."""
        return [(record, self._sessions.get(record.id)) for record in self._store.records(owner, labels)]

    def end(self, session_id: str, reason: str, owner: str = OWNER) -> None:
        """End a session: its clients get the reason and its sandbox is destroyed; no-op if it ended lately.

        Raises `UnknownKernel`.
        """
        self.returning.check(session_id)
        if (session := self._sessions.get(session_id)) is not None and session.record.owner == owner:
            self._end(session, "destroyed", reason)
        else:
            self.find(session_id, owner)

    async def stats(self, session_id: str, owner: str = OWNER) -> dict[str, Any]:
        """Return ``memory_bytes memory_limit cpu_usage_usec`` and what else the engine knows. Raises as `running`."""
        return await self._launcher.stats(self.running(session_id, owner).kernel)

    def attach(self, session: Session, connection: Connection, session_id: str) -> Seat:
        """Deliver the kernel's messages to ``connection``, which takes the seat of the client session ``session_id``.

        An older connection of that client session loses the seat.
        """
        seat = session.seats.take(connection, session_id)
        if not session.greeted:
            session.greeted = True
            self._journal.attached(session)
        return seat

    def detach(self, session: Session, seat: Seat, connection: Connection, undelivered: Sequence[Message]) -> None:
        """Stop delivering to ``connection``. If it was the last one, the session is idle from now on.

        The seat keeps ``undelivered`` and later messages for a while, for the client's next connection.
        """
        if session.id not in self._sessions:
            return
        session.seats.leave(seat, connection, undelivered)
        if not session.kernel.link.connections:
            session.kernel.link.last_activity = datetime.now(UTC)

    def _end(self, session: Session, status: str, reason: str) -> None:
        # first of all: `_gone`, if closing the kernel calls it, must find the session ended
        del self._sessions[session.id]
        self._journal.ended(session, status, reason)
        self.last_activity = max(self.last_activity, session.last_activity)
        self._culler.forget(session)
        session.kernel.close(reason)
        for client in tuple(session.kernel.link.clients):
            client.end(reason)
        if not session.crashed:
            self._pool.release(session.kernel)

    def _gone(self, session: Session) -> None:
        """Free the place of a sandbox that ended. Its dead kernel stays listed until a client or the culler ends it."""
        if session.id in self._sessions and not session.crashed:
            session.crashed = datetime.now(UTC)
            self._journal.gone(session, session.kernel.reason)
            self._pool.release(session.kernel)
