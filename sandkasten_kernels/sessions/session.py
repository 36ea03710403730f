"""Session: one claimed sandbox with its kernel, and the facts that the store keeps of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ..errors import TooMany
from ..execution import FirstResult, Outcome
from ..kernels import Kernel, Recalled
from ..relay import Seats
from ..store import Record
from ..workspaces import Files
from .lifetime import Lifetime
from .queue import BoundedLock

__all__ = ["OWNER", "Session"]

OWNER = "default"
"""The one owner that there is: everybody who has the token."""
MAX_WAITING_EXECS = 16
MAX_TRANSFERS = 16
GRACE = timedelta(minutes=1)
"""How long a session lives that expired while no gateway served."""


@dataclass(eq=False)
class Session:
    """One claimed sandbox with its kernel. Its id is that of the kernel.

    Attributes
    ----------
    record: the facts as they were last stored; `current_record` has today's ``last_activity``.
    cwd: the shell's working directory, as its last command left it.
    executions, transfers: how many run now over ``/v1``, and how many uploads and downloads.
    crashed: when the sandbox ended by itself, and went back to the pool to be removed; None while it lives.
    greeted: whether a client has ever connected over a WebSocket.
    locks: one for commands and one for code; a kernel that is the guest's bash has the same for both.
    """

    kernel: Kernel
    record: Record
    cwd: str = field(init=False)
    executions: int = 0
    transfers: int = 0
    crashed: datetime | None = None
    greeted: bool = False
    first_result: FirstResult = field(default_factory=FirstResult)
    seats: Seats = field(init=False)
    files: Files = field(init=False)
    locks: dict[str, BoundedLock] = field(init=False)
    _used: datetime = field(init=False)
    _kernel_cwd: str = field(init=False)

    def __post_init__(self) -> None:
        self._used = self.created
        self.cwd = self._kernel_cwd = self.kernel.sandbox.workspace
        self.seats = Seats(self.kernel.link)
        self.files = Files(self.kernel.guest)
        self.locks = {"cmd": BoundedLock(MAX_WAITING_EXECS), "code": BoundedLock(MAX_WAITING_EXECS)}
        if self.kernel.spec.in_guest:
            self.locks["code"] = self.locks["cmd"]  # it is one bash: a cell and a command would mix

    @property
    def id(self) -> str:
        """The id of the session, which is the id of its first kernel."""
        return self.record.id

    @property
    def created(self) -> datetime:
        """When the session was made."""
        return datetime.fromtimestamp(self.record.created, UTC)

    @property
    def lifetime(self) -> Lifetime:
        """The limits of the session's life."""
        return Lifetime.of(self.record)

    @property
    def unresponsive(self) -> bool:
        """Whether a client waits for the kernel, and the kernel does not answer heartbeats either."""
        return self.kernel.unresponsive

    @property
    def last_activity(self) -> datetime:
        """When the kernel last worked or got a request, or somebody used the session."""
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
        """Return why the session ends now, as its clients read it."""
        return self.lifetime.reason(self.created, now, busy=self.busy, connected=self.connected)

    def after(self, outcome: Outcome, *, in_shell: bool) -> Outcome:
        """Remember the directory in which a job left its shell or its kernel; return the outcome with that directory.

        An outcome without a directory gets the one that was known before.
        """
        if not in_shell:
            self._kernel_cwd = outcome.cwd or self._kernel_cwd
            return replace(outcome, cwd=self._kernel_cwd)
        self.cwd = outcome.cwd or self.cwd
        return replace(outcome, cwd=self.cwd)

    @contextmanager
    def transfer(self) -> Iterator[Files]:
        """Give the session's files for one upload or download; the session is in use meanwhile.

        Raises `TooMany` if `MAX_TRANSFERS` are under way.
        """
        if self.transfers >= MAX_TRANSFERS:
            message = f"{MAX_TRANSFERS} uploads and downloads of this session are under way: wait for one to end"
            raise TooMany(message, retry_after=1)
        self.transfers += 1
        try:
            yield self.files
        finally:
            self.transfers -= 1
            self.use()

    def use(self) -> None:
        """Note that somebody uses the session now; its ttl begins again."""
        self._used = datetime.now(UTC)

    def resumed(self, recalled: Recalled) -> None:
        """Go on from the record of an earlier process and what the guest remembers.

        A session that expired while no gateway served lives for `GRACE` more, so that its clients can use it.
        """
        used = datetime.fromtimestamp(self.record.last_activity, UTC)
        if self.record.ttl_seconds:
            used = max(used, datetime.now(UTC) - timedelta(seconds=self.record.ttl_seconds) + GRACE)
        self._used = self.kernel.link.last_activity = used
        self.cwd, self._kernel_cwd = recalled.cwd or self.cwd, recalled.kernel_cwd or self._kernel_cwd
        self.greeted = True

    def connection(self) -> dict[str, Any]:
        """Return the facts by which a later gateway process reaches the kernel; empty before its first start."""
        record = self.kernel.record
        return record.with_clients(self.seats.clients).as_json() if record else {}

    def current_record(self) -> Record:
        """Return the record with the time of the last use as it is now."""
        return replace(self.record, last_activity=self.last_activity.timestamp())
