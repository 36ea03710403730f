"""Sessions: the claimed kernels and their life, whoever asks for them."""

from __future__ import annotations

import asyncio
import logging
import posixpath
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from .claims import Claims
from .errors import (
    InvalidRequest,
    LimitReached,
    SandboxFailed,
    SandkastenError,
    SessionEnded,
    StoreFailed,
    UnknownKernel,
)
from .event_log import EventLog, Kind
from .kernel import WORKSPACE
from .kernelspec import Kernelspec, Kernelspecs
from .launcher import Launcher
from .messages import timestamp
from .parameters import environment
from .pool import Pool
from .replay import Message
from .seats import Connection, Seat
from .session import OWNER, Lifetime, Origin, Session, info
from .store import Store
from .workspace_name import workspace_name

__all__ = ["Rules", "Sessions", "Wanted", "jupyter_wanted"]

MAX_WAIT_SECONDS = 3600.0
WORKSPACE_VARIABLE = "KERNEL_WORKSPACE"
FORGET_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the operator has decided about sessions; times are in seconds, 0 means never.

    Attributes
    ----------
    ttl_seconds: after its last use a session of ``/v1`` ends, when its caller did not say otherwise.
    kernel_ttl_seconds: the same for a kernel of ``/api``.
    max_lifetime_seconds: a session ends so long after its creation, whatever it does.
    cull_connected: whether a session ends by its ttl while a client is connected.
    retention_seconds: an ended session is still shown for so long.
    max_per_owner: sessions an owner may have at once.
    env_names: variables a caller of ``/api`` may set, besides ``KERNEL_*``.
    persist_by_default: whether a session that names no workspace has a new one that stays.
    """

    ttl_seconds: int = 1800
    kernel_ttl_seconds: int = 43200
    max_lifetime_seconds: int = 0
    cull_connected: bool = False
    retention_seconds: int = 3600
    max_per_owner: int = 64
    env_names: frozenset[str] = frozenset()
    persist_by_default: bool = False


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A session that is asked for: a kernelspec's name, and what its kernel, its shell and the lists get to know.

    ``env`` is checked already; ``workspace_id`` is empty for a workspace that goes with the session;
    ``ttl_seconds``, ``mem_limit_mb`` and ``cpu_limit`` are None for what is usual.
    """

    kernelspec: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    origin: Origin = "api"
    ttl_seconds: int | None = None
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    mem_limit_mb: int | None = None
    cpu_limit: float | None = None
    workspace_id: str = ""


class Sessions:
    """Creates, finds and ends sessions. An owner is told of his own sessions alone.

    Invariants: an owner never has more than ``rules.max_per_owner``, those that are just being made counted; what the
    store says of a session was written before anybody was told.
    """

    def __init__(
        self,
        pool: Pool,
        launcher: Launcher,
        specs: Kernelspecs,
        store: Store,
        claims: Claims,
        rules: Rules,
        events: EventLog,
        log: logging.Logger,
    ) -> None:
        self.started = datetime.now(UTC)
        self.last_activity = self.started
        self.rules = rules
        self._pool = pool
        self._launcher = launcher
        self._specs = specs
        self._store = store
        self._claims = claims
        self._events = events
        self._log = log
        self._sessions: dict[str, Session] = {}
        self._making: Counter[str] = Counter()
        self._forgetting: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._sessions

    def setup(self) -> None:
        """Note that what an earlier process left is gone: its sandboxes are removed at start."""
        if lost := self._store.end_all("crashed", "the gateway ended", time.time()):
            self._log.warning("%d sessions ended with an earlier process of the gateway", lost)
        self._forget()

    async def cleanup(self) -> None:
        """End every session; no-op when there is none."""
        if self._forgetting:
            self._forgetting.cancel()
        for session in list(self._sessions.values()):
            self._end(session, "destroyed", "the gateway stopped")

    async def create(self, wanted: Wanted, owner: str = OWNER) -> Session:
        """Return a new session on a live kernel that has its environment.

        Raises `UnknownKernelspec`, `LimitReached`, `NoCapacity`, `InvalidWorkspace`, `SandboxFailed`, `EngineError`.
        """
        spec = self._specs.get(wanted.kernelspec)
        try:
            return await self._create(spec, wanted, owner)
        except SandkastenError as error:
            details = {"code": error.code, "image": spec.image, "workspace_id": wanted.workspace_id}
            self._events.record("refused", reason=error.message, **details)
            raise

    async def _create(self, spec: Kernelspec, wanted: Wanted, owner: str) -> Session:
        living = [session for session in self._sessions.values() if session.owner == owner and not session.crashed]
        having = len(living) + self._making[owner]
        if having >= self.rules.max_per_owner:
            limit = f"limits.max_sessions_per_owner, {self.rules.max_per_owner}"
            raise LimitReached(f"this owner has {having} sessions, which is {limit}: end one", retry_after=5)
        self._claims.check_room()
        if self.rules.persist_by_default and not wanted.workspace_id:
            wanted = replace(wanted, workspace_id=str(uuid.uuid4()))
        self._making[owner] += 1
        try:
            session = await self._make(spec, wanted, owner)
        finally:
            self._making[owner] -= 1
        return session

    async def _make(self, spec: Kernelspec, wanted: Wanted, owner: str) -> Session:
        acquired, attached = await self._claims.acquire(spec, wanted.workspace_id)
        kernel = acquired.kernel
        try:
            if wanted.mem_limit_mb or wanted.cpu_limit:
                await self._launcher.resize(kernel, wanted.cpu_limit, wanted.mem_limit_mb)
            detail = await kernel.prepare(wanted.env, _directory(wanted.env))
            session = Session(
                kernel,
                owner,
                wanted.origin,
                self._lifetime(wanted),
                acquired.source,
                "; ".join(filter(None, (attached, detail))),
                wanted.name,
                wanted.labels,
                wanted.workspace_id,
            )
            self._store.save(session.record())
            self._store.connect(session.id, kernel.connection)
        except BaseException:
            self._pool.release(kernel)
            raise
        self._sessions[session.id] = session
        kernel.on_connected(lambda: self._note_connection(session))
        if kernel.workspace:
            kernel.workspace.session_id = session.id
        kernel.on_gone(lambda: self._gone(session))
        if not kernel.sandbox.alive:
            self._end(session, "crashed", "its sandbox ended")
            raise SandboxFailed("the sandbox ended while it was claimed: try again", retry_after=1)
        self._watch(session)
        self._record("claimed", session, session.acquire_detail, source=acquired.source)
        self._log.info("kernel %s created (%s, %s)", session.id, spec.name, acquired.source)
        return session

    def get(self, session_id: str, owner: str = OWNER) -> Session:
        """Return a session that has not been ended; its sandbox may be gone. Raises `UnknownKernel`."""
        session = self._sessions.get(session_id)
        if session is None or session.owner != owner:
            raise UnknownKernel(f"there is no kernel {session_id[:64]!r}")
        return session

    def running(self, session_id: str, owner: str = OWNER) -> Session:
        """Return a session that can be used, and renew its life. Raises `UnknownKernel`, `SessionEnded`."""
        session = self._sessions.get(session_id)
        if session is None or session.owner != owner or session.crashed:
            record = self._store.get(session_id)
            if record is None or record.owner != owner:
                raise UnknownKernel(f"there is no session {session_id[:64]!r}")
            raise SessionEnded(f"this session has ended ({record.status}): {record.reason}")
        session.use()
        try:
            self._store.touch(session.id, session.last_activity.timestamp())
        except StoreFailed as error:
            self._log.warning("the use of session %s is not stored: %s", session.id, error)
        return session

    def extend(self, session_id: str, ttl_seconds: int | None, owner: str = OWNER) -> None:
        """Renew a session's life now, and let it be ``ttl_seconds`` after each use; 0 is what is usual.

        None leaves its own. Raises as `running`, and `StoreFailed`, with nothing changed.
        """
        session = self.running(session_id, owner)
        if ttl_seconds is not None:
            ttl = ttl_seconds or self._usual_ttl(session.origin)
            self._store.save(replace(session.record(), ttl_seconds=ttl))
            session.lifetime = replace(session.lifetime, ttl=timedelta(seconds=ttl))
            if session.timer:
                session.timer.cancel()
            self._watch(session)

    def models(self, owner: str = OWNER) -> list[dict[str, Any]]:
        """Return the model of every kernel, oldest first."""
        return [session.model() for session in self._sessions.values() if session.owner == owner]

    def info(self, session_id: str, owner: str = OWNER) -> dict[str, Any]:
        """Return a session as ``/v1`` shows it, running or lately ended. Raises `UnknownKernel`."""
        record = self._store.get(session_id)
        if record is None or record.owner != owner:
            raise UnknownKernel(f"there is no session {session_id[:64]!r}")
        return info(record, self._sessions.get(session_id))

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
        if (session := self._sessions.get(session_id)) is not None and session.owner == owner:
            self._end(session, "destroyed", reason)
        else:
            self.info(session_id, owner)

    async def stats(self, session_id: str, owner: str = OWNER) -> dict[str, Any]:
        """Return ``memory_bytes memory_limit cpu_usage_usec`` and what else the engine knows. Raises as `running`."""
        return await self._launcher.stats(self.running(session_id, owner).kernel)

    def _end(self, session: Session, status: str, reason: str) -> None:
        del self._sessions[session.id]
        self._note_end(session, status, reason)
        self.last_activity = max(self.last_activity, session.last_activity)
        if session.timer:
            session.timer.cancel()
        session.kernel.close(reason)
        for client in tuple(session.kernel.link.clients):
            client.end(reason)
        self._release(session)
        self._record("culled" if status == "expired" else "ended", session, reason)
        self._log.info("kernel %s ended: %s", session.id, reason)

    def _record(self, kind: Kind, session: Session, reason: str, **details: str) -> None:
        told = {"image": session.kernel.spec.image, "name": session.name, "workspace_id": session.workspace_id}
        self._events.record(kind, session_id=session.id, reason=reason, **told, **details)

    def _note_connection(self, session: Session) -> None:
        try:
            self._store.connect(session.id, session.kernel.connection)
        except StoreFailed as error:
            self._log.error("how to reach session %s is not stored: %s", session.id, error)

    def _note_end(self, session: Session, status: str, reason: str) -> None:
        """Store how a session ended; it ends also where that cannot be stored."""
        try:
            self._store.touch(session.id, session.last_activity.timestamp())
            self._store.end(session.id, status, reason, time.time())
        except StoreFailed as error:
            self._log.error("the end of session %s is not stored: %s", session.id, error)

    def _forget(self) -> None:
        """Forget the sessions whose retention is over, now and ever again."""
        try:
            self._store.forget(time.time() - self.rules.retention_seconds)
        except StoreFailed as error:
            self._log.warning("sessions that ended long ago are not forgotten yet: %s", error)
        wait = min(max(1.0, self.rules.retention_seconds), FORGET_SECONDS)
        self._forgetting = asyncio.get_running_loop().call_later(wait, self._forget)

    def _lifetime(self, wanted: Wanted) -> Lifetime:
        ttl = wanted.ttl_seconds or self._usual_ttl(wanted.origin)
        longest = self.rules.max_lifetime_seconds
        return Lifetime(timedelta(seconds=ttl), timedelta(seconds=longest), self.rules.cull_connected)

    def _usual_ttl(self, origin: Origin) -> int:
        return self.rules.ttl_seconds if origin == "v1" else self.rules.kernel_ttl_seconds

    def attach(self, session: Session, connection: Connection, session_id: str) -> Seat:
        """Deliver what the session's kernel says to ``connection``, in the place of an older one of ``session_id``."""
        return session.seats.take(connection, session_id)

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
            self._note_end(session, "crashed", session.kernel.reason)
            self._record("died", session, session.kernel.reason)
            self._log.warning("kernel %s is dead: %s", session.id, session.kernel.reason)
            self._release(session)

    def _release(self, session: Session) -> None:
        if not session.released:
            session.released = True
            self._pool.release(session.kernel)

    def _watch(self, session: Session) -> None:
        """End the session when its time is over; asked again when that may next be so."""
        left = (session.expires_at - datetime.now(UTC)).total_seconds()
        if left <= 0:
            self._end(session, "expired", session.lifetime.reason(session.created))
            return
        wait = min(max(0.1, left), MAX_WAIT_SECONDS)
        session.timer = asyncio.get_running_loop().call_later(wait, self._watch, session)


def jupyter_wanted(kernelspec: str | None, env: Any, allowed: Collection[str]) -> Wanted:
    """Return what a Jupyter client asks for: of its ``env`` a kernel gets ``KERNEL_*`` and the names ``allowed``.

    ``KERNEL_WORKSPACE`` names its workspace. Raises `InvalidRequest`, `InvalidWorkspace`.
    """
    if env is None:
        return Wanted(kernelspec=kernelspec)
    if not isinstance(env, Mapping):
        raise InvalidRequest("env must be an object of strings")
    taken = environment({name: value for name, value in env.items() if name.startswith("KERNEL_") or name in allowed})
    workspace = taken.get(WORKSPACE_VARIABLE, "")
    return Wanted(
        kernelspec=kernelspec,
        env=taken,
        workspace_id=workspace and workspace_name(workspace, WORKSPACE_VARIABLE),
    )


def _directory(env: Mapping[str, str]) -> str | None:
    """Return the directory a client asks for, if it is one of the workspace's; a path of the client's host is not."""
    path = posixpath.normpath(env.get("KERNEL_WORKING_DIR", ""))
    return path if path.startswith(WORKSPACE + "/") else None
