"""Launcher: starts kernels in new sandboxes of an engine, and removes them."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import fields, replace

from ..background import BackgroundTasks
from ..config import Defaults
from ..engines import Engine, Sandbox, SandboxSpec
from ..errors import EngineError, SandkastenError
from ..kernels import Kernel, KernelRecord
from ..kernelspecs import Kernelspec
from ..protocol import MemoryBudget
from ..retry import forever, retry
from ..store import Store
from ..telemetry import EventLog, Kind, Metrics
from ..workspaces import Lease
from .left import LeftKernel

__all__ = ["Launcher", "sandbox_spec"]

UNFINISHED_BYTES = 256 * 1024 * 1024
"""The memory that all sandboxes together may take with messages of which they have sent only a part."""


class Launcher:
    """Starts a kernel with its sandbox, and removes both.

    Parameters
    ----------
    defaults: limits of a sandbox where its kernelspec names none; may be changed, and then holds for new sandboxes.
    tasks: owner of the background work of the launcher and its kernels.
    events: where starts and deaths are recorded; None for nowhere.
    """

    def __init__(
        self,
        engine: Engine,
        defaults: Defaults,
        log: logging.Logger,
        tasks: BackgroundTasks,
        events: EventLog | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._engine = engine
        self._defaults = defaults
        self._log = log
        self._tasks = tasks.group()
        self._events = events
        self._metrics = metrics or Metrics()
        self._room = MemoryBudget(UNFINISHED_BYTES)

    def sandbox_spec(self, spec: Kernelspec) -> SandboxSpec:
        """Return the limits and the image of a kernelspec's sandboxes."""
        return sandbox_spec(spec, self._defaults)

    async def start(self, spec: Kernelspec, workspace: str = "") -> Kernel:
        """Return a kernel that has answered, in a new sandbox.

        ``workspace`` is the name of the workspace to mount at the start; empty for a directory that ends with the
        sandbox. Raises `SandboxFailed`, `EngineError`.
        """
        began = time.monotonic()
        try:
            kernel = await self._start(spec, workspace)
        except SandkastenError:
            self._metrics.failed_starts.labels(spec.image).inc()
            raise
        self._metrics.starts.labels(spec.image).observe(time.monotonic() - began)
        return kernel

    async def _start(self, spec: Kernelspec, workspace: str) -> Kernel:
        sandbox = await self._engine.start(replace(self.sandbox_spec(spec), workspace=workspace))
        kernel = self._kernel(sandbox, spec)
        try:
            await kernel.start()
        except BaseException:
            # In the background: the caller may be cancelled, and a removal takes as long as the engine is away.
            self._tasks.run("removal of a sandbox that failed to start", self.destroy(kernel))
            raise
        self._record("created", kernel)
        return kernel

    def adopt(
        self, record: KernelRecord, lease: Lease | None, ready: Callable[[], Awaitable[object]], store: Store
    ) -> LeftKernel:
        """Return a kernel that an earlier process left, to be reached, and then kept or discarded.

        Parameters
        ----------
        record: what ``store`` knows of the kernel.
        lease: the workspace that its sandbox has.
        ready: returns when the engine is set up.
        """
        return LeftKernel(record, lease, self._connect, ready, self._engine, store, self._events, self._log)

    async def _connect(self, spec: Kernelspec, record: KernelRecord) -> Kernel:
        return self._kernel(await self._engine.adopt(record.sandbox), spec, record)

    def _kernel(self, sandbox: Sandbox, spec: Kernelspec, record: KernelRecord | None = None) -> Kernel:
        sandbox.room = self._room
        return Kernel(sandbox, spec, self._log, self._tasks, self._engine.how_ended, record)

    def lost(self, kernel: Kernel) -> None:
        """Record the death of a kernel that has no owner yet."""
        self._record("died", kernel, kernel.reason)

    def _record(self, kind: Kind, kernel: Kernel, reason: str = "") -> None:
        if self._events:
            self._events.record(kind, session_id=kernel.id, reason=reason, image=kernel.spec.image)

    async def attach(self, kernel: Kernel, workspace: str) -> bool:
        """Mount a workspace in a kernel's sandbox; False where that failed: the sandbox cannot be used any more."""
        try:
            return await self._engine.attach(kernel.sandbox, workspace)
        except EngineError as error:
            self._log.warning(
                "workspace %s could not be attached to sandbox %s: %s", workspace, kernel.sandbox.id, error
            )
            return False

    async def resize(self, kernel: Kernel, cpu_limit: float | None, mem_limit_mb: int | None) -> None:
        """Change the limits of a kernel's sandbox. Raises `InvalidRequest`, `EngineError`."""
        await self._engine.resize(kernel.sandbox, cpu_limit, mem_limit_mb)

    async def stats(self, kernel: Kernel) -> dict[str, int]:
        """Return the usage of a kernel's sandbox, as `Engine.stats`. Raises `EngineError`."""
        return await self._engine.stats(kernel.sandbox)

    async def destroy(self, kernel: Kernel) -> None:
        """Return when the kernel and its sandbox are gone, whatever their state was.

        An engine that does not answer is asked again until it does, so that no sandbox is left without an owner.
        """
        kernel.close("its sandbox was ended")
        await retry(
            lambda: self._engine.destroy(kernel.sandbox),
            EngineError,
            forever(),
            lambda error, delay: self._log.warning(
                "sandbox %s is not removed yet, next try in %g s: %s", kernel.sandbox.id, delay, error
            ),
        )
        if kernel.workspace:
            kernel.workspace.close()

    async def cleanup(self) -> None:
        """Stop trying: the engine's own clean-up removes what is left. A second call does nothing."""
        await self._tasks.cleanup()


def sandbox_spec(spec: Kernelspec, defaults: Defaults) -> SandboxSpec:
    """Return the image and the limits of a kernelspec's sandboxes; ``defaults`` fill what it leaves open."""
    own = {**spec.limits._asdict(), "network_mode": spec.network_mode}
    names = {field.name for field in fields(SandboxSpec)} & set(Defaults.class_own_traits(config=True))
    values = {name: getattr(defaults, name) for name in names}
    values.update((name, value) for name, value in own.items() if value is not None)
    return SandboxSpec(image=spec.image, **values)
