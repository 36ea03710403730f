"""Workspaces: named directories that outlive every session, and the leases on them."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from ..engines import Engine, is_workspace_name, workspace_name
from ..errors import NoCapacity, UnknownWorkspace, WorkspaceInUse
from ..protocol import timestamp

__all__ = ["Lease", "Workspaces"]

ENDING_SECONDS = 15.0


@dataclass(eq=False)
class Lease:
    """One sandbox's use of a workspace, from before it is attached until the sandbox has exited.

    Attributes
    ----------
    session_id: of the session that has the sandbox; empty until it is known.
    ending: whether the session has ended, and only its sandbox has not exited yet.
    closed: set when the sandbox has exited.
    """

    name: str
    session_id: str = ""
    ending: bool = False
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    def close(self) -> None:
        """End the lease; a second call does nothing."""
        self.closed.set()


class Workspaces:
    """Makes workspaces when they are first used, and deletes unused ones on request.

    Parameters
    ----------
    directory: its disk must have ``min_free_mb`` MiB free for a new session.

    Invariants: a workspace with a `Lease` exists and is not deleted; operations on one name run one after the other.
    """

    def __init__(self, engine: Engine, directory: Path, min_free_mb: int, log: logging.Logger) -> None:
        self._engine = engine
        self._directory = directory
        self.min_free_mb = min_free_mb
        self._log = log
        self._leases: dict[str, list[Lease]] = {}
        self._known: set[str] = set()
        # weak: a lock lives only while somebody holds or awaits it, so names do not pile up
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def setup(self) -> None:
        """Read from the engine which workspaces exist."""
        self._known = {stored.name for stored in await self._engine.workspaces() if is_workspace_name(stored.name)}

    def check_room(self) -> None:
        """Raise `NoCapacity` if the disk has too little free space for a new session's files."""
        disk = os.statvfs(self._directory)
        if (free := disk.f_bavail * disk.f_frsize // 2**20) < self.min_free_mb:
            raise NoCapacity(
                f"the gateway's disk has {free} MiB free, and limits.min_free_disk_mb is {self.min_free_mb}: "
                "delete workspaces that are not needed",
                retry_after=60,
            )

    async def hold(self, name: str) -> Lease:
        """Return a lease on a workspace, and make the workspace if it does not exist.

        Raises `InvalidWorkspace`, `EngineError`.
        """
        workspace_name(name, "workspace_id")
        async with self._lock(name):
            if name not in self._known:
                await self._engine.make_workspace(name)
                self._known.add(name)
                self._log.info("workspace %s created", name)
            # under the lock: `delete` sees the lease, or `hold` makes the workspace anew
            lease = Lease(name)
            self._leases.setdefault(name, []).append(lease)
            return lease

    def adopt(self, name: str, session_id: str) -> Lease:
        """Return a lease for the session of an earlier process, which has the workspace already."""
        lease = Lease(name, session_id)
        self._leases.setdefault(name, []).append(lease)
        return lease

    def require(self, name: str) -> None:
        """Raise `InvalidWorkspace` for a wrong name, and `UnknownWorkspace` if no workspace has it."""
        if workspace_name(name, "workspace id") not in self._known:
            raise UnknownWorkspace(f"there is no workspace {name!r}")

    async def models(self) -> list[dict[str, Any]]:
        """Return ``id created_at size_mb size_complete labels session_ids`` of each, by name."""
        stored = [stored for stored in await self._engine.workspaces() if is_workspace_name(stored.name)]
        # one workspace that cannot be measured must not hide the others
        sizes = await asyncio.gather(*(self._engine.workspace_size(one.name) for one in stored), return_exceptions=True)
        models = []
        for one, size in zip(stored, sizes, strict=True):
            counted, complete = (0, False) if isinstance(size, BaseException) else size
            models.append(
                {
                    "id": one.name,
                    "created_at": timestamp(datetime.fromtimestamp(one.created, UTC)),
                    "size_mb": round(counted / 2**20, 3),
                    "size_complete": complete,
                    "labels": dict(one.labels),
                    "session_ids": [
                        lease.session_id for lease in self._open(one.name) if lease.session_id and not lease.ending
                    ],
                }
            )
        return models

    async def delete(self, name: str) -> None:
        """Delete a workspace with its files; wait up to `ENDING_SECONDS` for sandboxes that are ending.

        Raises `InvalidWorkspace`, `UnknownWorkspace`, `WorkspaceInUse`, `EngineError`.
        """
        self.require(name)
        async with self._lock(name):
            # again: another request may have deleted it while this one waited for the lock
            self.require(name)
            await self._until_unused(name)
            await self._engine.remove_workspace(name)
            self._known.discard(name)
            self._log.info("workspace %s deleted", name)

    async def _until_unused(self, name: str) -> None:
        try:
            async with asyncio.timeout(ENDING_SECONDS):
                while leases := self._open(name):
                    if in_use := [lease for lease in leases if not lease.ending]:
                        sessions = ", ".join(lease.session_id or "one that is starting" for lease in in_use[:3])
                        raise WorkspaceInUse(
                            f"workspace {name} is used by {len(in_use)} sessions ({sessions}): end them"
                        )
                    await leases[0].closed.wait()
        except TimeoutError as error:
            raise WorkspaceInUse(
                f"workspace {name}: its last sandbox has not exited within {ENDING_SECONDS:g} s: try again",
                retry_after=5,
            ) from error

    def _open(self, name: str) -> list[Lease]:
        """Return the leases that have not ended, and forget the others."""
        leases = [lease for lease in self._leases.get(name, ()) if not lease.closed.is_set()]
        if leases:
            self._leases[name] = leases
        else:
            self._leases.pop(name, None)
        return leases

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())
