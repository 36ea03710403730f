"""WorkspaceFiles: files of a workspace without a session, through the guest of a sandbox that has it attached.

The gateway itself never follows a path in a workspace, because a sandbox may have made the links in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

from ..errors import TooMany
from ..kernels import Kernel
from ..kernelspecs import Kernelspecs
from ..pool import Claims
from ..workspaces import Files, Workspaces

__all__ = ["WorkspaceFiles"]

IDLE_SECONDS = 5.0
MAX_TRANSFERS, MAX_OPEN = 8, 8


@dataclass(eq=False)
class _Opened:
    kernel: Kernel
    files: Files
    users: int = 0
    timer: asyncio.TimerHandle | None = None


class WorkspaceFiles:
    """Opens workspaces for requests about their files.

    A sandbox serves several requests, and is released `IDLE_SECONDS` after the last. An idle sandbox does not keep
    clients from deleting its workspace.
    """

    def __init__(self, claims: Claims, workspaces: Workspaces, specs: Kernelspecs) -> None:
        self._claims = claims
        self._workspaces = workspaces
        self._specs = specs
        self._opened: dict[str, _Opened] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def cleanup(self) -> None:
        """Release every sandbox; a second call does nothing."""
        for name in tuple(self._opened):
            self._release(name)

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[Files]:
        """Give the files of a workspace. Raises `InvalidWorkspace`, `UnknownWorkspace`, `TooMany`, and as a claim."""
        self._workspaces.require(name)
        async with self._locks.setdefault(name, asyncio.Lock()):
            opened = self._opened.get(name)
            if opened is None or not opened.kernel.sandbox.alive:
                opened = await self._open(name)
            if opened.users >= MAX_TRANSFERS:
                raise TooMany(f"{MAX_TRANSFERS} requests about files of this workspace are under way", retry_after=1)
            opened.users += 1
        if opened.timer:
            opened.timer.cancel()
        try:
            yield opened.files
        finally:
            opened.users -= 1
            if not opened.users:
                opened.timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._release, name, opened)

    async def delete(self, name: str) -> None:
        """Delete a workspace as `Workspaces.delete`; release its sandbox first if that is idle."""
        if (opened := self._opened.get(name)) and not opened.users:
            self._release(name)
        await self._workspaces.delete(name)

    async def _open(self, name: str) -> _Opened:
        self._release(name)
        idle = [other for other, opened in self._opened.items() if not opened.users]
        if len(self._opened) >= MAX_OPEN:
            if not idle:
                raise TooMany(f"files of {MAX_OPEN} workspaces without a session are in use", retry_after=1)
            self._release(idle[0])
        acquired, _ = await self._claims.acquire(self._specs.default, name)
        opened = self._opened[name] = _Opened(acquired.kernel, Files(acquired.kernel.guest))
        return opened

    def _release(self, name: str, expected: _Opened | None = None) -> None:
        opened = self._opened.get(name)
        # the timer of an older sandbox must not release its successor
        if opened is None or (expected is not None and opened is not expected):
            return
        del self._opened[name]
        if opened.timer:
            opened.timer.cancel()
        opened.kernel.close("no requests for its files came any more")
        self._claims.release(opened.kernel)
