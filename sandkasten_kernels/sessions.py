"""Sessions: the claimed kernels and their life, whoever asks for them."""

from __future__ import annotations

import asyncio
import logging
import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from .errors import InvalidRequest, SandboxFailed, UnknownKernel
from .kernel import WORKSPACE, Kernel
from .kernelspec import Kernelspecs
from .messages import timestamp
from .pool import Pool
from .replay import Message
from .seats import Connection, Seat, Seats

__all__ = ["Session", "Sessions"]

MAX_ENV_BYTES = 64 * 1024
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN = re.compile(r"[^\0\ud800-\udfff]*")


@dataclass(eq=False)
class Session:
    """One claimed sandbox with its kernel; its id is the kernel's."""

    kernel: Kernel
    acquire_source: str
    acquire_detail: str | None
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    timer: asyncio.TimerHandle | None = None
    released: bool = False
    seats: Seats = field(init=False)

    def __post_init__(self) -> None:
        self.seats = Seats(self.kernel.link)

    @property
    def id(self) -> str:
        """The one id of the session and its kernel."""
        return self.kernel.id

    @property
    def last_activity(self) -> datetime:
        """When the kernel last worked or was last asked."""
        return max(self.created, self.kernel.link.last_activity)

    def model(self) -> dict[str, Any]:
        """Return the kernel as ``/api/kernels`` shows it."""
        link = self.kernel.link
        return {
            "id": self.id,
            "name": self.kernel.spec.name,
            "last_activity": timestamp(self.last_activity),
            "execution_state": link.execution_state,
            "connections": link.connections,
        }


class Sessions:
    """Creates, finds and ends sessions.

    Parameters
    ----------
    ttl_seconds: a session that is idle and has no client attached ends after so long; 0 for never.
    env_names: variables a caller may set, besides ``KERNEL_*``.
    """

    def __init__(
        self,
        pool: Pool,
        specs: Kernelspecs,
        *,
        ttl_seconds: int,
        env_names: Collection[str],
        log: logging.Logger,
    ) -> None:
        self.started = datetime.now(UTC)
        self.last_activity = self.started
        self._pool = pool
        self._specs = specs
        self._ttl = ttl_seconds
        self._env_names = frozenset(env_names)
        self._log = log
        self._sessions: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._sessions

    async def cleanup(self) -> None:
        """End every session; no-op when there is none."""
        for session in list(self._sessions.values()):
            self.end(session.id, "the gateway stopped")

    async def create(self, kernelspec: str | None, env: Any) -> Session:
        """Return a new session on a live kernel that has its environment.

        Parameters
        ----------
        kernelspec: its name, None for the default one.
        env: an object of strings; what is not ``KERNEL_*`` or in ``env_names`` is passed over.

        Raises `InvalidRequest`, `UnknownKernelspec`, `NoCapacity`, `SandboxFailed`.
        """
        spec = self._specs.get(kernelspec)
        wanted = self._environment(env)
        acquired = await self._pool.claim(spec)
        kernel = acquired.kernel
        try:
            detail = await kernel.prepare(wanted, _directory(wanted))
        except BaseException:
            self._pool.release(kernel)
            raise
        session = Session(kernel, acquired.source, detail)
        self._sessions[session.id] = session
        kernel.on_gone(lambda: self._gone(session))
        if not kernel.sandbox.alive:
            self.end(session.id, "its sandbox ended")
            raise SandboxFailed("the sandbox ended while it was claimed: try again", retry_after=1)
        self._watch(session)
        self._log.info("kernel %s created (%s, %s)", session.id, spec.name, acquired.source)
        return session

    def get(self, session_id: str) -> Session:
        """Return a session. Raises `UnknownKernel`."""
        try:
            return self._sessions[session_id]
        except KeyError:
            raise UnknownKernel(f"there is no kernel {session_id[:64]!r}") from None

    def models(self) -> list[dict[str, Any]]:
        """Return the model of every session, oldest first."""
        return [session.model() for session in self._sessions.values()]

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

    def end(self, session_id: str, reason: str) -> None:
        """End a session: its clients are told and its sandbox is destroyed. Raises `UnknownKernel`."""
        session = self.get(session_id)
        del self._sessions[session_id]
        self.last_activity = max(self.last_activity, session.last_activity)
        if session.timer:
            session.timer.cancel()
        session.kernel.close(reason)
        for client in tuple(session.kernel.link.clients):
            client.end(reason)
        self._release(session)
        self._log.info("kernel %s ended: %s", session_id, reason)

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
            self._log.warning("kernel %s is dead: %s", session.id, session.kernel.reason)
            self._release(session)

    def _release(self, session: Session) -> None:
        if not session.released:
            session.released = True
            self._pool.release(session.kernel)

    def _watch(self, session: Session) -> None:
        """End the session when it has been idle for its time; asked again when that may next be so."""
        if not self._ttl:
            return
        idle = (datetime.now(UTC) - session.last_activity) / timedelta(seconds=1)
        busy = session.kernel.link.connections or session.kernel.link.execution_state in ("busy", "starting")
        if not busy and idle >= self._ttl:
            self.end(session.id, f"idle for {self._ttl} s")
            return
        wait = self._ttl if busy else max(0.1, self._ttl - idle)
        session.timer = asyncio.get_running_loop().call_later(wait, self._watch, session)

    def _environment(self, env: Any) -> dict[str, str]:
        if env is None:
            return {}
        if not isinstance(env, Mapping):
            raise InvalidRequest("env must be an object of strings")
        if "KERNEL_WORKSPACE" in env:
            raise InvalidRequest("KERNEL_WORKSPACE: this gateway has no workspaces yet; start without it")
        wanted: dict[str, str] = {}
        for name, value in env.items():
            if not (name.startswith("KERNEL_") or name in self._env_names):
                continue
            if not isinstance(value, str) or not _PLAIN.fullmatch(value) or not _NAME.fullmatch(name):
                raise InvalidRequest(f"env.{name[:64]!r}: must be a name and a text without NUL or lone surrogates")
            wanted[name] = value
        if sum(len(name) + len(value) for name, value in wanted.items()) > MAX_ENV_BYTES:
            raise InvalidRequest(f"env: larger than {MAX_ENV_BYTES // 1024} KiB")
        return wanted


def _directory(env: Mapping[str, str]) -> str | None:
    """Return the directory a client asks for, if it is one of the workspace's; a path of the client's host is not."""
    path = posixpath.normpath(env.get("KERNEL_WORKING_DIR", ""))
    return path if path.startswith(WORKSPACE + "/") else None
