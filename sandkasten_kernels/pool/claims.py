"""Claims: takes kernels out of the pool and gives them their workspaces."""

from __future__ import annotations

from ..kernels import Kernel
from ..kernelspecs import Kernelspec
from ..workspaces import Workspaces
from .launcher import Launcher
from .pool import Pool
from .waiting import Acquired

__all__ = ["Claims"]

NOT_ATTACHED = "the workspace could not be attached to a warm sandbox: this one was started with it"


class Claims:
    """Gives kernels to owners, never one without the workspace that the owner asked for."""

    def __init__(self, pool: Pool, launcher: Launcher, workspaces: Workspaces) -> None:
        self._pool = pool
        self._launcher = launcher
        self._workspaces = workspaces

    def check_room(self) -> None:
        """Raise `NoCapacity` when the disk has too little room for a new session's files."""
        self._workspaces.check_room()

    async def acquire(self, spec: Kernelspec, workspace_id: str) -> tuple[Acquired, str]:
        """Return a kernel that has its workspace, and a note for the owner: empty, or why the kernel was not warm.

        ``workspace_id``: empty for a directory that ends with the sandbox. Raises as `Pool.claim` and
        `Workspaces.hold`.
        """
        if not workspace_id:
            return await self._pool.claim(spec), ""
        # Held before the claim: nobody can delete the workspace while the kernel is on its way.
        lease = await self._workspaces.hold(workspace_id)
        try:
            acquired = await self._pool.claim(spec)
        except BaseException:
            lease.close()
            raise
        kernel = acquired.kernel
        kernel.workspace = lease  # the launcher closes the lease when the sandbox is gone
        try:
            if await self._launcher.attach(kernel, lease.name):
                return acquired, ""
        except BaseException:
            self._pool.release(kernel)
            raise
        kernel.workspace = None  # else the end of this sandbox would close the lease that the next one needs
        try:
            acquired = await self._pool.exchange(kernel, lease.name)
        except BaseException:
            lease.close()
            raise
        acquired.kernel.workspace = lease
        return acquired, NOT_ATTACHED

    def release(self, kernel: Kernel) -> None:
        """End a claim: the kernel is destroyed in the background. Returns at once."""
        self._pool.release(kernel)
