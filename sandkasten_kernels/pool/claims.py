"""Claims: kernels out of the pool with the workspace that they are to have."""

from __future__ import annotations

from ..kernels.kernel import Kernel
from ..kernelspecs.kernelspec import Kernelspec
from ..workspaces.workspaces import Workspaces
from .launcher import Launcher
from .pool import Acquired, Pool

__all__ = ["Claims"]

NOT_ATTACHED = "the workspace could not be attached to a warm sandbox: this one was started with it"


class Claims:
    """Gives kernels to owners. None is given without the workspace that was asked for."""

    def __init__(self, pool: Pool, launcher: Launcher, workspaces: Workspaces) -> None:
        self._pool = pool
        self._launcher = launcher
        self._workspaces = workspaces

    def check_room(self) -> None:
        """Raise `NoCapacity` where the disk has too little room for a new session's files."""
        self._workspaces.check_room()

    async def acquire(self, spec: Kernelspec, workspace_id: str) -> tuple[Acquired, str]:
        """Return a kernel that has its workspace, and how it came to it when that was not at once.

        ``workspace_id`` is empty for one that goes with the sandbox. Raises as `Pool.claim` and `Workspaces.hold`.
        """
        if not workspace_id:
            return await self._pool.claim(spec), ""
        use = await self._workspaces.hold(workspace_id)
        try:
            acquired = await self._pool.claim(spec)
        except BaseException:
            use.close()
            raise
        kernel = acquired.kernel
        kernel.workspace = use  # from here on it is in use until the kernel's sandbox is gone
        try:
            if await self._launcher.attach(kernel, use.name):
                return acquired, ""
        except BaseException:
            self._pool.release(kernel)
            raise
        kernel.workspace = None
        try:
            acquired = await self._pool.exchange(kernel, use.name)
        except BaseException:
            use.close()
            raise
        acquired.kernel.workspace = use
        return acquired, NOT_ATTACHED

    def release(self, kernel: Kernel) -> None:
        """Take a kernel back, to be destroyed; returns at once."""
        self._pool.release(kernel)
