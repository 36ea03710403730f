"""Workspaces: named directories that outlive every session, and who uses them."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from ..engines import Engine
from ..engines.workspace_name import is_workspace_name, workspace_name
from ..errors import NoCapacity, UnknownWorkspace, WorkspaceInUse
from ..protocol.messages import timestamp

__all__ = ["Lease", "Workspaces"]

ENDING_SECONDS = 15.0


@dataclass(eq=False)
class Lease:
    """One sandbox's use of a workspace: from before it is attached until the sandbox's container has exited.

    ``ending`` is set when the session has ended, and only its container is waited for.
    """

    name: str
    session_id: str = ""
    ending: bool = False
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    def close(self) -> None:
        """Use it no more; a second call does nothing."""
        self.closed.set()


class Workspaces:
    """Makes workspaces when they are first asked for, and deletes those that nobody uses.

    Parameters
    ----------
    directory: is on the disk that must have ``min_free_mb`` MiB free for a session to be made.

    Invariants: a workspace that has a `Lease` is there and is not deleted; what happens to one name happens in turn.
    """

    def __init__(self, engine: Engine, directory: Path, min_free_mb: int, log: logging.Logger) -> None:
        self._engine = engine
        self._directory = directory
        self.min_free_mb = min_free_mb
        self._log = log
        self._uses: dict[str, list[Lease]] = {}
        self._known: set[str] = set()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def setup(self) -> None:
        """Find the workspaces that there are."""
        self._known = {stored.name for stored in await self._engine.workspaces() if is_workspace_name(stored.name)}

    def check_room(self) -> None:
        """Raise `NoCapacity` where the disk has too little room for a new session's files."""
        disk = os.statvfs(self._directory)
        if (free := disk.f_bavail * disk.f_frsize // 2**20) < self.min_free_mb:
            raise NoCapacity(
                f"the gateway's disk has {free} MiB free, and limits.min_free_disk_mb is {self.min_free_mb}: "
                "delete workspaces that are not needed",
                retry_after=60,
            )

    async def hold(self, name: str) -> Lease:
        """Return a use of a workspace, which is made when there is none of the name.

        Raises `InvalidWorkspace`, `EngineError`.
        """
        workspace_name(name, "workspace_id")
        async with self._lock(name):
            if name not in self._known:
                await self._engine.make_workspace(name)
                self._known.add(name)
                self._log.info("workspace %s created", name)
            use = Lease(name)
            self._uses.setdefault(name, []).append(use)
            return use

    def adopt(self, name: str, session_id: str) -> Lease:
        """Return the use of a workspace by a session that an earlier process left."""
        use = Lease(name, session_id)
        self._uses.setdefault(name, []).append(use)
        return use

    def require(self, name: str) -> None:
        """Raise `InvalidWorkspace`, or `UnknownWorkspace` where there is none of the name."""
        if workspace_name(name, "workspace id") not in self._known:
            raise UnknownWorkspace(f"there is no workspace {name!r}")

    async def models(self) -> list[dict[str, Any]]:
        """Return ``id created_at size_mb size_complete labels session_ids`` of each, by name."""
        stored = [stored for stored in await self._engine.workspaces() if is_workspace_name(stored.name)]
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
                        use.session_id for use in self._users(one.name) if use.session_id and not use.ending
                    ],
                }
            )
        return models

    async def delete(self, name: str) -> None:
        """Remove a workspace with its files; sandboxes that are just ending are waited for.

        Raises `InvalidWorkspace`, `UnknownWorkspace`, `WorkspaceInUse`, `EngineError`.
        """
        self.require(name)
        async with self._lock(name):
            self.require(name)
            await self._until_unused(name)
            await self._engine.remove_workspace(name)
            self._known.discard(name)
            self._log.info("workspace %s deleted", name)

    async def _until_unused(self, name: str) -> None:
        try:
            async with asyncio.timeout(ENDING_SECONDS):
                while users := self._users(name):
                    if in_use := [use for use in users if not use.ending]:
                        sessions = ", ".join(use.session_id or "one that is just made" for use in in_use[:3])
                        raise WorkspaceInUse(
                            f"workspace {name} is used by {len(in_use)} sessions ({sessions}): end them"
                        )
                    await users[0].closed.wait()
        except TimeoutError as error:
            raise WorkspaceInUse(
                f"workspace {name}: its last sandbox has not exited within {ENDING_SECONDS:g} s: try again",
                retry_after=5,
            ) from error

    def _users(self, name: str) -> list[Lease]:
        users = [use for use in self._uses.get(name, ()) if not use.closed.is_set()]
        if users:
            self._uses[name] = users
        else:
            self._uses.pop(name, None)
        return users

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())
