"""Launcher: kernels in fresh sandboxes of an engine, started and ended."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from dataclasses import fields, replace

from ..config.traits import Defaults
from ..engines import Engine, SandboxSpec
from ..errors import EngineError, SandkastenError
from ..kernels.kernel import Kernel
from ..kernels.record import KernelRecord
from ..kernelspecs.kernelspec import Kernelspec
from ..protocol.zmtp import MemoryBudget
from ..telemetry.events import EventLog, Kind
from ..telemetry.metrics import Metrics

__all__ = ["Launcher", "sandbox_spec"]

NOT_ADOPTED = "an earlier process had left it, and it was not adopted"
BACKOFF_SECONDS = (1.0, 2.0, 5.0, 15.0, 30.0)
UNFINISHED_BYTES = 256 * 1024 * 1024
"""Of messages that sandboxes have begun to send: each has many sockets, and there are many sandboxes."""


class Launcher:
    """Starts a kernel with all that is around it, and ends it again."""

    def __init__(
        self,
        engine: Engine,
        defaults: Defaults,
        log: logging.Logger,
        events: EventLog | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._engine = engine
        self._defaults = defaults
        self._log = log
        self._events = events
        self._metrics = metrics or Metrics()
        self._room = MemoryBudget(UNFINISHED_BYTES)
        self._discards: set[asyncio.Task[None]] = set()

    def sandbox_spec(self, spec: Kernelspec) -> SandboxSpec:
        """Return what a kernelspec's sandboxes are made of."""
        return sandbox_spec(spec, self._defaults)

    async def start(self, spec: Kernelspec, workspace: str = "") -> Kernel:
        """Return a kernel that has answered, in a sandbox of its own, which has a workspace from its start.

        Raises `SandboxFailed`, `EngineError`.
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
        sandbox.room = self._room
        kernel = Kernel(sandbox, spec, self._log, self._engine.how_ended)
        try:
            await kernel.start()
        except BaseException:
            self._discards.add(task := asyncio.create_task(self.destroy(kernel)))
            task.add_done_callback(self._discards.discard)
            raise
        self._record("created", kernel)
        return kernel

    async def adopt(self, spec: Kernelspec, record: KernelRecord) -> Kernel:
        """Return a kernel in the sandbox that an earlier process left; it is yet to `Kernel.resume`.

        Raises `SandboxFailed` when the sandbox is gone or cannot be reached, `EngineError`.
        """
        sandbox = await self._engine.adopt(record.sandbox)
        sandbox.room = self._room
        return Kernel(sandbox, spec, self._log, self._engine.how_ended, record)

    async def remove_left(self, record: KernelRecord) -> None:
        """End what an earlier process left and was not adopted; an engine that does not answer is asked again."""
        for delay in itertools.chain(BACKOFF_SECONDS, itertools.repeat(BACKOFF_SECONDS[-1])):
            try:
                await self._engine.remove_left(record.sandbox)
                if self._events:
                    self._events.record("removed", session_id=record.id, reason=NOT_ADOPTED)
                return
            except EngineError as error:
                self._log.warning("sandbox %s is not ended yet, next try in %g s: %s", record.sandbox.id, delay, error)
            await asyncio.sleep(delay)

    def lost(self, kernel: Kernel) -> None:
        """Note that a kernel has ended that nobody owns yet."""
        self._record("died", kernel, kernel.reason)

    def _record(self, kind: Kind, kernel: Kernel, reason: str = "") -> None:
        if self._events:
            self._events.record(kind, session_id=kernel.id, reason=reason, image=kernel.spec.image)

    async def attach(self, kernel: Kernel, workspace: str) -> bool:
        """Put a workspace into a kernel's sandbox; False where that did not work, and the sandbox is of no use."""
        try:
            return await self._engine.attach(kernel.sandbox, workspace)
        except EngineError as error:
            self._log.warning("sandbox %s does not get workspace %s: %s", kernel.sandbox.id, workspace, error)
            return False

    async def resize(self, kernel: Kernel, cpu_limit: float | None, mem_limit_mb: int | None) -> None:
        """Change the limits of a kernel's sandbox. Raises `InvalidRequest`, `EngineError`."""
        await self._engine.resize(kernel.sandbox, cpu_limit, mem_limit_mb)

    async def stats(self, kernel: Kernel) -> dict[str, int]:
        """Return what a kernel's sandbox uses, as `Engine.stats` has it. Raises `EngineError`."""
        return await self._engine.stats(kernel.sandbox)

    async def destroy(self, kernel: Kernel) -> None:
        """Return when the kernel and its sandbox are gone, whatever their state was.

        An engine that does not answer is asked again, so that nothing is left that nobody owns.
        """
        kernel.close("its sandbox was ended")
        for delay in itertools.chain(BACKOFF_SECONDS, itertools.repeat(BACKOFF_SECONDS[-1])):
            try:
                await self._engine.destroy(kernel.sandbox)
                if kernel.workspace:
                    kernel.workspace.close()
                return
            except EngineError as error:
                self._log.warning("sandbox %s is not ended yet, next try in %g s: %s", kernel.sandbox.id, delay, error)
            await asyncio.sleep(delay)

    async def cleanup(self) -> None:
        """Stop trying: what is left is the engine's own clean-up to end."""
        for task in tuple(self._discards):
            task.cancel()
        await asyncio.gather(*self._discards, return_exceptions=True)


def sandbox_spec(spec: Kernelspec, defaults: Defaults) -> SandboxSpec:
    """Return what a kernelspec's sandboxes are made of, with ``defaults`` where it says nothing."""
    own = {**spec.limits._asdict(), "network_mode": spec.network_mode}
    names = {field.name for field in fields(SandboxSpec)} & set(Defaults.class_own_traits(config=True))
    wanted = {name: getattr(defaults, name) for name in names}
    wanted.update((name, value) for name, value in own.items() if value is not None)
    return SandboxSpec(image=spec.image, **wanted)
