"""Launcher: kernels in fresh sandboxes of an engine, started and ended."""

from __future__ import annotations

import asyncio
import itertools
import logging

from .config import Defaults
from .engines import Engine, SandboxSpec
from .errors import EngineError
from .kernel import Kernel
from .kernelspec import Kernelspec

__all__ = ["Launcher"]

BACKOFF_SECONDS = (1.0, 2.0, 5.0, 15.0, 30.0)


class Launcher:
    """Starts a kernel with all that is around it, and ends it again."""

    def __init__(self, engine: Engine, defaults: Defaults, log: logging.Logger) -> None:
        self._engine = engine
        self._defaults = defaults
        self._log = log
        self._discards: set[asyncio.Task[None]] = set()

    def sandbox_spec(self, spec: Kernelspec) -> SandboxSpec:
        """Return what a kernelspec's sandboxes are made of."""
        own = {**spec.limits._asdict(), "network_mode": spec.network_mode}
        wanted = {name: getattr(self._defaults, name) for name in Defaults.class_own_traits(config=True)}
        wanted.update((name, value) for name, value in own.items() if value is not None)
        return SandboxSpec(image=spec.image, **wanted)

    async def start(self, spec: Kernelspec) -> Kernel:
        """Return a kernel that has answered, in a sandbox of its own. Raises `SandboxFailed`, `EngineError`."""
        sandbox = await self._engine.start(self.sandbox_spec(spec))
        kernel = Kernel(sandbox, spec, self._log)
        try:
            await kernel.start()
        except BaseException:
            self._discards.add(task := asyncio.create_task(self.destroy(kernel)))
            task.add_done_callback(self._discards.discard)
            raise
        return kernel

    async def destroy(self, kernel: Kernel) -> None:
        """Return when the kernel and its sandbox are gone, whatever their state was.

        An engine that does not answer is asked again, so that nothing is left that nobody owns.
        """
        kernel.close("its sandbox was ended")
        for delay in itertools.chain(BACKOFF_SECONDS, itertools.repeat(BACKOFF_SECONDS[-1])):
            try:
                await self._engine.destroy(kernel.sandbox)
                return
            except EngineError as error:
                self._log.warning("sandbox %s is not ended yet, next try in %g s: %s", kernel.sandbox.id, delay, error)
            await asyncio.sleep(delay)

    async def cleanup(self) -> None:
        """Stop trying: what is left is the engine's own clean-up to end."""
        for task in tuple(self._discards):
            task.cancel()
        await asyncio.gather(*self._discards, return_exceptions=True)
