"""StatusSnapshot: the state of the gateway as the status page shows it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from .. import __version__
from ..engines import Engine, Usage
from ..pool import Pool
from ..protocol import timestamp
from ..sessions import FOR_EVER, Session, Sessions
from ..telemetry import Activity
from .host import HostMonitor

__all__ = ["StatusSnapshot", "gateway_status"]

MEMORY_STEP = 256 * 1024
"""Memory is rounded down to this step, so that an idle session does not change from snapshot to snapshot."""


class StatusSnapshot:
    """Takes snapshots of the gateway. It asks the engine once for the usage of all sandboxes."""

    def __init__(self, sessions: Sessions, pool: Pool, engine: Engine, host: HostMonitor, activity: Activity) -> None:
        self._sessions = sessions
        self._pool = pool
        self._engine = engine
        self._host = host
        self.activity = activity
        self._cpu_before: dict[str, tuple[float, int]] = {}

    async def take(self) -> dict[str, Any]:
        """Return ``time gateway sandboxes pool host sessions`` as they are now, and record the memory in use."""
        sandboxes = [session.kernel.sandbox for session in self._sessions if not session.crashed]
        usages = await self._engine.usages(sandboxes)
        host = self._host.read()
        self.activity.used(sum(usage.memory_bytes for usage in usages.values()), host.memory_bytes)
        cpu = self._cpu(usages)
        status = gateway_status(self._sessions)
        pool = [{**counts, **self.activity.claims(counts["image"])} for counts in self._pool.status()]
        totals = self._pool.totals()
        return {
            "time": timestamp(datetime.now(UTC)),
            "gateway": {"version": __version__, "started": status["started"], "connections": status["connections"]},
            "sandboxes": {
                **{state: sum(counts[state] for counts in pool) for state in ("claimed", "warm", "starting")},
                **totals,
            },
            "pool": pool,
            "host": asdict(host),
            "sessions": list(_rows(self._sessions, usages, cpu)),
        }

    def _cpu(self, usages: Mapping[str, Usage]) -> dict[str, float]:
        """Return how many processors each sandbox has kept busy since the snapshot before."""
        now = time.monotonic()
        before, self._cpu_before = self._cpu_before, {name: (now, usage.cpu_usec) for name, usage in usages.items()}
        return {
            name: round(max(0, usage.cpu_usec - before[name][1]) / 1e6 / (now - before[name][0]), 2)
            for name, usage in usages.items()
            if name in before and now > before[name][0]
        }


def gateway_status(sessions: Sessions) -> dict[str, Any]:
    """Return ``started last_activity kernels connections`` of the whole gateway, as ``/api/status`` shows it."""
    used = max((session.last_activity for session in sessions), default=sessions.last_activity)
    return {
        "started": timestamp(sessions.started),
        "last_activity": timestamp(max(used, sessions.last_activity)),
        "kernels": len(sessions),
        "connections": sum(session.kernel.link.connections for session in sessions),
    }


def _rows(
    sessions: Iterable[Session], usages: Mapping[str, Usage], cpu: Mapping[str, float]
) -> Iterable[dict[str, Any]]:
    for session in sessions:
        sandbox = session.kernel.sandbox
        usage = usages.get(sandbox.id)
        yield {
            "id": session.id,
            "name": session.record.name,
            "labels": dict(session.record.labels),
            "image": session.kernel.spec.image,
            "kernelspec": session.kernel.spec.name,
            "state": _state(session),
            "origin": session.record.origin,
            "workspace_id": session.record.workspace_id or None,
            "created_at": timestamp(session.created),
            "last_activity": timestamp(session.last_activity),
            "expires_at": _expires(session),
            "ttl_seconds": int(session.record.ttl_seconds),
            "connections": session.kernel.link.connections,
            "memory_bytes": usage and usage.memory_bytes // MEMORY_STEP * MEMORY_STEP,
            "memory_limit": usage and usage.memory_limit,
            "cpu": cpu.get(sandbox.id),
            "cpu_limit": sandbox.spec.cpu_limit,
        }


def _state(session: Session) -> str:
    if session.crashed:
        return "dead"
    return "unresponsive" if session.unresponsive else session.kernel.link.execution_state


def _expires(session: Session) -> str | None:
    """Return when a session ends if nobody uses it; None for never, and while the end moves because it is in use."""
    now = datetime.now(UTC)
    end, later = (
        session.lifetime.end(
            session.created, session.last_activity, moment, busy=session.busy, connected=session.connected
        )
        for moment in (now, now + timedelta(seconds=1))
    )
    return timestamp(end) if end == later < FOR_EVER else None
