"""The properties of sessions, workspaces, the pool and events; a notebook shows each as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from .display import table_html
from .from_json import FromJson

__all__ = ["Event", "PoolInfo", "SessionInfo", "SessionStats", "WorkspaceInfo"]


class _Table(FromJson):
    """A dataclass that a notebook shows as a table of its fields."""

    def _repr_html_(self) -> str:
        names = [entry.name for entry in fields(self)]  # type: ignore[arg-type]
        return table_html(
            ("", ""), [(name, value) for name in names if (value := getattr(self, name)) not in (None, "")]
        )


@dataclass(frozen=True)
class SessionInfo(_Table):
    """The properties of a session. Times are strings as in RFC 3339."""

    id: str
    image: str
    status: str
    """``running``, ``expired``, ``destroyed`` or ``crashed``."""

    cwd: str
    created_at: str
    expires_at: str
    """When it ends unless it is used before."""

    workspace_id: str | None = None
    """None for a temporary workspace."""

    container_id: str | None = None
    last_activity: str | None = None
    kernelspec: str = ""
    ttl_seconds: int = 0
    """How long it lives after its last use; 0 for no limit."""

    acquire_source: str = ""
    """``pool`` for a warm sandbox, ``cold`` for one that was started for this session."""

    acquire_detail: str = ""
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    ended_at: str | None = None
    reason: str = ""
    """Why it ended."""

    unresponsive: bool = False
    """Whether its kernel does not answer."""


@dataclass(frozen=True)
class SessionStats(_Table):
    """The current resource usage of a session."""

    memory_bytes: int = 0
    memory_limit: int = 0
    """In bytes; 0 for no limit."""

    cpu_usage_usec: int = 0
    """CPU time in microseconds since the start of the sandbox."""

    pids: int = 0


@dataclass(frozen=True)
class WorkspaceInfo(_Table):
    """A named workspace."""

    id: str
    created_at: str = ""
    size_mb: float = 0
    size_complete: bool = True
    """False when counting all files would have taken too long: the size is then a lower bound."""

    labels: Mapping[str, str] = field(default_factory=dict)
    session_ids: tuple[str, ...] = ()
    """The sessions that use it now."""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        return super().of({**data, "session_ids": tuple(data.get("session_ids") or ())})


@dataclass(frozen=True)
class PoolInfo(_Table):
    """The pool of one kernelspec: its sandboxes now, and hits and misses since the start of the gateway."""

    kernelspec: str
    image: str
    target: int = 0
    warm: int = 0
    starting: int = 0
    claimed: int = 0
    hits: int = 0
    misses: int = 0


@dataclass(frozen=True)
class Event(_Table):
    """An event of a session."""

    id: int
    time: str
    kind: str
    """For example ``claimed``, ``died``, ``culled``."""

    session_id: str = ""
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
