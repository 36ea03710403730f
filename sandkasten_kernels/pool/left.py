"""LeftKernel: a kernel that an earlier gateway process left, until this one keeps or discards it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from ..engines import Engine
from ..errors import EngineError, SandboxFailed, StoreFailed
from ..kernels import Kernel, KernelRecord, Recalled
from ..kernelspecs import Kernelspec
from ..retry import forever, retry
from ..store import Store
from ..telemetry import EventLog
from ..workspaces import Lease

__all__ = ["LeftKernel"]

REACH_DELAYS = (1.0, 1.0, 1.0)
NOT_ADOPTED = "an earlier process had left it, and it was not adopted"


class LeftKernel:
    """One stored kernel. `reach` and `resume` connect to it; then exactly one of `keep` and `discard` is called.

    Parameters
    ----------
    record: what the store knows of the kernel.
    lease: the workspace that its sandbox has; None for a sandbox without a named one.
    connect: makes the kernel in the sandbox that the engine found, as `Launcher.connect`.
    ready: returns when the engine is set up; before that nothing can be removed.
    """

    def __init__(
        self,
        record: KernelRecord,
        lease: Lease | None,
        connect: Callable[[Kernelspec, KernelRecord], Awaitable[Kernel]],
        ready: Callable[[], Awaitable[object]],
        engine: Engine,
        store: Store,
        events: EventLog | None,
        log: logging.Logger,
    ) -> None:
        self.record = record
        self._lease = lease
        self._connect = connect
        self._ready = ready
        self._engine = engine
        self._store = store
        self._events = events
        self._log = log
        self._kernel: Kernel | None = None

    async def reach(self, spec: Kernelspec) -> Kernel:
        """Return the kernel, which is yet to `resume`. An engine that does not answer is asked four times.

        Raises `SandboxFailed` when the sandbox is gone or cannot be reached, `EngineError` after the last attempt.
        """
        self._kernel = await retry(
            lambda: self._connect(spec, self.record),
            EngineError,
            REACH_DELAYS,
            lambda error, delay: self._log.warning(
                "sandbox %s is not adopted yet, next try in %g s: %s", self.record.sandbox.id, delay, error.message
            ),
        )
        return self._kernel

    async def resume(self) -> Recalled:
        """Return what the guest remembers, when kernel and shell are connected; call it after `reach`.

        Raises `SandboxFailed`; the connections are then given back, and the sandbox still runs.
        """
        if self._kernel is None:
            raise SandboxFailed("the kernel was not reached")
        try:
            return await self._kernel.resume(self.record)
        except BaseException:
            self._kernel.leave()
            raise

    def keep(self) -> None:
        """Let the kernel have its workspace: from here on it is like one that this process has started."""
        if self._kernel:
            self._kernel.workspace = self._lease

    async def discard(self, reason: str) -> None:
        """Return when the sandbox is gone and forgotten, and its workspace free; ``reason`` goes to the log.

        An engine that does not answer is asked again until it does, so that no sandbox is left without an owner.
        """
        self._log.info("sandbox %s is discarded: %s", self.record.sandbox.id, reason)
        if self._kernel:
            self._kernel.leave()
        if self._lease:
            self._lease.ending = True
        await self._ready()
        await retry(
            lambda: self._engine.remove_left(self.record.sandbox),
            EngineError,
            forever(),
            lambda error, delay: self._log.warning(
                "sandbox %s is not removed yet, next try in %g s: %s", self.record.sandbox.id, delay, error
            ),
        )
        if self._events:
            self._events.record("removed", session_id=self.record.id, reason=NOT_ADOPTED)
        if self._lease:
            self._lease.close()
        try:
            # Last: if this process ends before, the next one still finds the sandbox and removes it.
            self._store.disconnect(self.record.id)
        except StoreFailed as error:
            self._log.warning("sandbox %s is gone and still stored: %s", self.record.sandbox.id, error)
