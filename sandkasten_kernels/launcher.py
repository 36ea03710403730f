"""Launcher: kernels in fresh sandboxes of an engine, started and ended."""

from __future__ import annotations

import asyncio
import logging

from .config import Defaults
from .engines import Engine, SandboxSpec
from .kernel import Kernel
from .kernelspec import Kernelspec

__all__ = ["Launcher"]


class Launcher:
    """Starts a kernel with all that is around it, and ends it again."""

    def __init__(self, engine: Engine, defaults: Defaults, log: logging.Logger) -> None:
        self._engine = engine
        self._defaults = defaults
        self._log = log

    def sandbox_spec(self, spec: Kernelspec) -> SandboxSpec:
        """Return what a kernelspec's sandboxes are made of."""
        limits = {name: getattr(self._defaults, name) for name in Defaults.class_own_traits(config=True)}
        return SandboxSpec(image=spec.image, **limits)

    async def start(self, spec: Kernelspec) -> Kernel:
        """Return a kernel that has answered, in a sandbox of its own. Raises `SandboxFailed`, `EngineError`."""
        sandbox = await self._engine.start(self.sandbox_spec(spec))
        kernel = Kernel(sandbox, spec, self._log)
        try:
            await kernel.start()
        except BaseException:
            await asyncio.shield(self.destroy(kernel))
            raise
        return kernel

    async def destroy(self, kernel: Kernel) -> None:
        """Return when the kernel and its sandbox are gone, whatever their state was."""
        kernel.close("its sandbox was ended")
        await self._engine.destroy(kernel.sandbox)
