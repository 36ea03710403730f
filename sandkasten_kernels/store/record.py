"""Record: the stored facts of one session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Record"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """The stored facts of one session; times are seconds since 1970.

    The fields are the columns of the table ``sessions``. A new field is one line here and one migration. ``/v1`` shows
    it under its own name, unless `sessions.views` says otherwise; the SDK's `SessionInfo`, published API, needs a line
    too.

    Attributes
    ----------
    id: of the session and of the first kernel of its sandbox.
    owner, team: who may see and use the session, its sandbox and all kernels in it.
    origin: the API that made it, ``api`` or ``v1``.
    sandbox: the engine's handle of the sandbox (a container's id).
    status: ``running``, or how it ended: ``expired``, ``destroyed``, ``crashed``.
    reason: why it ended; while it runs, why the last process of its kernel ended.
    ttl_seconds: it ends this long after its last use; 0 for no limit.
    max_lifetime_seconds: it ends this long after its creation; 0 for no limit.
    cull_connected, cull_busy: whether it also ends while a client is connected, and while something runs.
    workspace_id: name of its workspace; empty for a directory that goes with the session.
    """

    id: str
    owner: str
    team: str = ""
    origin: str
    kernelspec: str
    image: str
    sandbox: str
    acquire_source: str
    ttl_seconds: float
    created: float
    last_activity: float
    acquire_detail: str = ""
    status: str = "running"
    reason: str = ""
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    ended: float | None = None
    workspace_id: str = ""
    max_lifetime_seconds: float = 0.0
    cull_connected: bool = False
    cull_busy: bool = False
