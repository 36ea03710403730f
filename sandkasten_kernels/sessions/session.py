"""Session: one claimed sandbox with its kernel, what it is called, and how long it lives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from ..errors import TooMany
from ..execution.first_result import FirstResult
from ..execution.outcome import Outcome
from ..kernels.kernel import Kernel
from ..kernels.record import Recalled
from ..protocol.messages import timestamp
from ..relay.seats import Seats
from ..store import Record
from ..workspaces.files import Files
from .lifetime import Lifetime
from .queue import BoundedLock

__all__ = ["OWNER", "Origin", "Session", "expected_model", "info", "restored"]

OWNER = "default"
"""The one owner that there is: whoever has the token."""
MAX_WAITING_EXECS = 16
MAX_TRANSFERS = 16
GRACE = timedelta(minutes=1)

Origin = Literal["api", "v1"]
"""Through which API a session was made."""


@dataclass(eq=False)
class Session:
    """One claimed sandbox with its kernel; its id is the kernel's."""

    kernel: Kernel
    owner: str
    origin: Origin
    lifetime: Lifetime
    acquire_source: str
    acquire_detail: str = ""
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    workspace_id: str = ""
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    cwd: str = field(init=False)
    executions: int = 0
    transfers: int = 0
    released: bool = False
    crashed: datetime | None = None
    greeted: bool = False
    reason: str = ""
    first_result: FirstResult = field(default_factory=FirstResult)
    seats: Seats = field(init=False)
    files: Files = field(init=False)
    turns: dict[str, BoundedLock] = field(init=False)
    _used: datetime = field(init=False)
    _kernel_cwd: str = field(init=False)

    def __post_init__(self) -> None:
        self._used = self.created
        self.cwd = self._kernel_cwd = self.kernel.sandbox.workspace
        self.seats = Seats(self.kernel.link)
        self.files = Files(self.kernel.guest)
        self.turns = {"cmd": BoundedLock(MAX_WAITING_EXECS), "code": BoundedLock(MAX_WAITING_EXECS)}
        if self.kernel.spec.in_guest:
            self.turns["code"] = self.turns["cmd"]

    @property
    def id(self) -> str:
        """The one id of the session and its kernel."""
        return self.kernel.id

    @property
    def unresponsive(self) -> bool:
        """Whether somebody waits for the kernel, and it does not even answer that it is alive."""
        return self.kernel.unresponsive

    @property
    def last_activity(self) -> datetime:
        """When the kernel last worked or was last asked, or somebody used the session."""
        return max(self._used, self.kernel.link.last_activity)

    @property
    def busy(self) -> bool:
        """Whether something runs."""
        working = not self.crashed and self.kernel.link.execution_state in ("busy", "starting")
        return working or bool(self.executions or self.transfers)

    @property
    def connected(self) -> bool:
        """Whether a client is connected over a WebSocket."""
        return bool(self.kernel.link.connections)

    @property
    def expires_at(self) -> datetime:
        """When the session ends if nobody uses it from now on."""
        now = datetime.now(UTC)
        return self.lifetime.end(self.created, self.last_activity, now, busy=self.busy, connected=self.connected)

    def overdue_reason(self, now: datetime) -> str:
        """Say why the session is ended now."""
        return self.lifetime.reason(self.created, now, busy=self.busy, connected=self.connected)

    def after(self, outcome: Outcome, *, in_shell: bool) -> Outcome:
        """Note where a job has left its shell or its kernel; return its outcome with a directory in any case."""
        if not in_shell:
            self._kernel_cwd = outcome.cwd or self._kernel_cwd
            return replace(outcome, cwd=self._kernel_cwd)
        self.cwd = outcome.cwd or self.cwd
        return replace(outcome, cwd=self.cwd)

    @contextmanager
    def transfer(self) -> Iterator[Files]:
        """Give the files; the session is in use meanwhile. Raises `TooMany` above `MAX_TRANSFERS` at once."""
        if self.transfers >= MAX_TRANSFERS:
            words = f"{MAX_TRANSFERS} uploads and downloads of this session are under way: wait for one to end"
            raise TooMany(words, retry_after=1)
        self.transfers += 1
        try:
            yield self.files
        finally:
            self.transfers -= 1
            self.use()

    def use(self) -> None:
        """Renew the session's life."""
        self._used = datetime.now(UTC)

    def model(self) -> dict[str, Any]:
        """Return the kernel as ``/api/kernels`` shows it."""
        link = self.kernel.link
        return {
            "id": self.id,
            "name": self.kernel.spec.name,
            "last_activity": timestamp(self.last_activity),
            "execution_state": link.execution_state,
            "connections": link.connections,
            "unresponsive": self.unresponsive,
        }

    def connection(self) -> dict[str, Any]:
        """Return what a later process has to know to speak to the kernel."""
        record = self.kernel.record
        return record.with_clients(self.seats.clients).as_json() if record else {}

    def resumed(self, record: Record, recalled: Recalled) -> None:
        """Take over when the session was last used in an earlier process, and where it is.

        One whose time was over while nobody could reach it has `GRACE` left.
        """
        used = _time(record.last_activity)
        if self.lifetime.ttl:
            used = max(used, datetime.now(UTC) - self.lifetime.ttl + GRACE)
        self._used = self.kernel.link.last_activity = used
        self.cwd, self._kernel_cwd = recalled.cwd or self.cwd, recalled.kernel_cwd or self._kernel_cwd
        self.reason, self.greeted = record.reason, True

    def record(self) -> Record:
        """Return what is stored of the session."""
        return Record(
            id=self.id,
            owner=self.owner,
            origin=self.origin,
            kernelspec=self.kernel.spec.name,
            image=self.kernel.spec.image,
            sandbox=self.kernel.sandbox.handle,
            acquire_source=self.acquire_source,
            acquire_detail=self.acquire_detail,
            ttl_seconds=self.lifetime.ttl.total_seconds(),
            max_lifetime_seconds=self.lifetime.longest.total_seconds(),
            cull_connected=self.lifetime.cull_connected,
            cull_busy=self.lifetime.cull_busy,
            created=self.created.timestamp(),
            last_activity=self.last_activity.timestamp(),
            name=self.name,
            labels=self.labels,
            workspace_id=self.workspace_id,
            reason=self.reason,
        )


def expected_model(record: Record) -> dict[str, Any]:
    """Return the kernel of a session that is just being adopted, as ``/api/kernels`` shows it."""
    return {
        "id": record.id,
        "name": record.kernelspec,
        "last_activity": timestamp(_time(record.last_activity)),
        "execution_state": "starting",
        "connections": 0,
    }


def restored(record: Record, kernel: Kernel) -> Session:
    """Return a session as it was stored, on its kernel."""
    lifetime = Lifetime(
        timedelta(seconds=record.ttl_seconds),
        timedelta(seconds=record.max_lifetime_seconds),
        record.cull_connected,
        record.cull_busy,
    )
    return Session(
        kernel,
        record.owner,
        "v1" if record.origin == "v1" else "api",
        lifetime,
        record.acquire_source,
        record.acquire_detail,
        record.name,
        record.labels,
        record.workspace_id,
        datetime.fromtimestamp(record.created, UTC),
    )


def info(record: Record, session: Session | None = None) -> dict[str, Any]:
    """Return a session as ``/v1`` shows it: from what is stored, and from the session itself while it lives."""
    used = session.last_activity if session else _time(record.last_activity)
    ended = _time(record.ended) if record.ended is not None else None
    answer = {
        "id": record.id,
        "image": record.image,
        "kernelspec": record.kernelspec,
        "status": record.status,
        "cwd": session.cwd if session else "",
        "created_at": timestamp(_time(record.created)),
        "expires_at": timestamp(session.expires_at if session and not ended else ended or used),
        "last_activity": timestamp(used),
        "ttl_seconds": int(record.ttl_seconds),
        "max_lifetime_seconds": int(record.max_lifetime_seconds),
        "cull_connected": record.cull_connected,
        "cull_busy": record.cull_busy,
        "container_id": record.sandbox,
        "acquire_source": record.acquire_source,
        "acquire_detail": record.acquire_detail,
        "name": record.name,
        "labels": dict(record.labels),
        "workspace_id": record.workspace_id or None,
        "execution_state": session.kernel.link.execution_state if session and not ended else "dead",
        "unresponsive": bool(session and session.unresponsive),
        "reason": record.reason,
    }
    if ended:
        answer["ended_at"] = timestamp(ended)
    return answer


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
