"""The pool of warm kernels."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ..background import BackgroundTasks
from ..config import PoolSettings
from ..errors import NoCapacity, SandboxFailed, SandkastenError
from ..kernels import Kernel
from ..kernelspecs import Kernelspec, Kernelspecs
from ..retry import BACKOFF_SECONDS
from .launcher import Launcher
from .ledger import Evict, Ledger, Start
from .register import NO_REGISTER, Register
from .waiting import Acquired, WaitingClaims

__all__ = ["Pool"]

STOP_SECONDS = 20.0
"""How long `Pool.cleanup` waits for sandboxes to be removed; the engine's clean-up removes the others."""


class Pool(PoolSettings):
    """Keeps warm kernels and hands them out; a used one never returns.

    Parameters
    ----------
    launcher: starts and ends kernels.
    specs: the kernelspecs on offer.
    max_sandboxes: how many there may be, whatever their state.
    tasks: owner of the starts and removals in the background.
    register: stores which kernels are warm, so that a later process finds them.
    """

    def __init__(
        self,
        launcher: Launcher,
        specs: Kernelspecs,
        max_sandboxes: int,
        tasks: BackgroundTasks,
        register: Register = NO_REGISTER,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._launcher = launcher
        self._register = register
        self._offered = specs
        self._specs = {spec.name: spec for spec in specs}
        self._ledger: Ledger[Kernel] = Ledger(self._targets(), max_sandboxes, self.max_starting)
        self._generation = 0
        self._waiting = WaitingClaims(self._specs)
        self._starts = tasks.group()
        self._removals = tasks.group()
        self._removing: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._no_refill_before = 0.0
        self._wakeup: asyncio.TimerHandle | None = None
        self._closed = False

    def setup(self) -> None:
        """Begin to start warm kernels."""
        self._work()

    async def cleanup(self) -> None:
        """End the warm kernels and every start under way; no-op when done."""
        self._closed = True
        if self._wakeup:
            self._wakeup.cancel()
        await self._starts.cleanup()  # first, so that no kernel arrives for the claims that fail next
        for name in self._waiting:
            while self._waiting.count(name):
                self._ledger.give_up(name)
                self._waiting.fail_first(name, SandboxFailed("the gateway is stopping", retry_after=5))
        for kernel in self._ledger.drain():
            self._begin_removal(kernel)
        if self._removing:
            await asyncio.wait(self._removing, timeout=STOP_SECONDS)
            await self._removals.cleanup()

    async def leave(self) -> None:
        """Leave the warm kernels to the next process, and end every start under way; no-op when done."""
        for kernel in self._ledger.drain():
            self._ledger.removed()
            kernel.leave()
        await self.cleanup()

    def adopt(self, kernel: Kernel) -> bool:
        """Take a warm kernel that an earlier process left.

        False when it is dead, of another image or other limits than a new one would be, or one too many.
        """
        name = kernel.spec.name
        if not kernel.alive or self._ledger.counts(name)["target"] <= self._ledger.counts(name)["warm"]:
            return False
        if kernel.sandbox.outdated or kernel.sandbox.spec != self._launcher.sandbox_spec(kernel.spec):
            return False
        self._ledger.adopted(name, kernel)
        self._is_warm(kernel)
        return True

    def reject(self, kernel: Kernel) -> None:
        """End a kernel that an earlier process left and `adopt` did not take; returns at once."""
        self._ledger.ending += 1
        self._register.adopted(kernel)
        self._begin_removal(kernel)

    def adopt_claimed(self, kernel: Kernel) -> None:
        """Count a kernel that an earlier process has given to an owner; `release` gives it back."""
        self._ledger.adopted_claimed(kernel.spec.name)

    def resize(self, max_sandboxes: int) -> None:
        """Apply this limit and the present values of ``enabled``, ``images`` and ``max_starting``.

        Surplus warm kernels are destroyed, and missing ones started. Kernels in use stay. The newest of the
        claims that wait raise `NoCapacity`, as many as the new limit has no place for.
        """
        before = {name: self._ledger.counts(name)["target"] for name in self._specs}
        for kernel in self._ledger.retarget(self._targets(), max_sandboxes, self.max_starting):
            self._begin_removal(kernel)
        # A start under way may have become surplus: with an older generation it is removed when it arrives.
        if any(self._ledger.counts(name)["target"] < target for name, target in before.items()):
            self._generation += 1
        for name in self._waiting:
            while self._waiting.count(name) and self._ledger.promised > max_sandboxes:
                self._ledger.give_up(name)
                error = NoCapacity(f"limits.max_sandboxes is {max_sandboxes} now: try again later", retry_after=5)
                self._waiting.fail_last(name, error)
        self._work()

    def renew(self) -> None:
        """Replace the warm kernels, and those that are just starting, because new ones would differ from them."""
        self._generation += 1
        for kernel in self._ledger.drain():
            self._begin_removal(kernel)
        self._work()

    async def claim(self, spec: Kernelspec) -> Acquired:
        """Return a live kernel that nobody has used: a warm one at once, else the next one that becomes ready.

        Raises `NoCapacity` at the limit, `SandboxFailed` or `EngineError` when the start that the claim waited for
        failed.
        """
        # Nothing is awaited between the choice and the count, so two claims never get the same kernel.
        while (kernel := self._ledger.claim(spec.name)) is not None:
            stored = self._register.claim(kernel)
            if kernel.alive:
                # A start takes much CPU, which the owner's first cell needs now.
                self._hold_refills(self.refill_delay_seconds)
                return Acquired(kernel, "pool", stored)
            self._ledger.was_dead(spec.name)
            self._begin_removal(kernel)
        future = self._waiting.add(spec.name)
        self._work()
        try:
            return Acquired(await future, "cold")
        except asyncio.CancelledError:
            if self._waiting.cancel(spec.name, future):
                self._ledger.give_up(spec.name)
            elif not future.cancelled() and not future.exception():
                self.release(future.result())  # it was served in the same turn of the event loop
            raise

    async def exchange(self, kernel: Kernel, workspace: str) -> Acquired:
        """Destroy a claimed kernel, and return a new one in its place that has a workspace from its start.

        Raises `SandboxFailed`, `EngineError`; the claim then ends.
        """
        self._register.forget(kernel)
        try:
            await self._launcher.destroy(kernel)
            return Acquired(await self._launcher.start(kernel.spec, workspace), "cold")
        except BaseException:
            self.release(kernel)
            raise

    def release(self, kernel: Kernel) -> None:
        """End a claim: the kernel is destroyed in the background. Returns at once."""
        self._ledger.release(kernel.spec.name)
        self._begin_removal(kernel)

    def status(self) -> list[dict[str, Any]]:
        """Return ``image kernelspec target warm starting claimed hits misses`` of each kernelspec."""
        return [
            {"image": spec.image, "kernelspec": name, **self._ledger.counts(name)} for name, spec in self._specs.items()
        ]

    def totals(self) -> dict[str, int]:
        """Return ``ending`` and ``max``: how many sandboxes are being removed, and how many there may be in all."""
        return {"ending": self._ledger.ending, "max": self._ledger.max_sandboxes}

    def _targets(self) -> dict[str, int]:
        return {name: self._target(spec) for name, spec in self._specs.items()}

    def _target(self, spec: Kernelspec) -> int:
        kept = self.enabled and spec.pool and spec is self._offered.for_image(spec.image)
        return self.images.get(spec.image, 0) if kept else 0

    def _hold_refills(self, seconds: float) -> None:
        self._no_refill_before = max(self._no_refill_before, time.monotonic() + seconds)
        self._work()

    def _work(self) -> None:
        """Start and evict everything that the ledger asks for now, and come back when the pool may be refilled."""
        if self._closed:
            return
        wait = self._no_refill_before - time.monotonic()
        while action := self._ledger.next_action(refill=wait <= 0):
            if isinstance(action, Start):
                task = self._starts.run("start of a sandbox", self._add(action.key))
                task.add_done_callback(self._work_after)
            elif isinstance(action, Evict):
                self._begin_removal(action.member)
        if self._wakeup:
            self._wakeup.cancel()
            self._wakeup = None
        if wait > 0:
            self._wakeup = asyncio.get_running_loop().call_later(wait, self._work)

    def _begin_removal(self, kernel: Kernel) -> None:
        task = self._removals.run("removal of a sandbox", self._remove(kernel))
        self._removing.add(task)
        task.add_done_callback(self._removing.discard)
        task.add_done_callback(self._work_after)

    def _work_after(self, task: asyncio.Task[None]) -> None:
        self._work()

    async def _add(self, name: str) -> None:
        generation = self._generation
        try:
            kernel = await self._launcher.start(self._specs[name])
        except SandkastenError as error:
            self._start_failed(name, error)
            return
        except BaseException:  # a cancelled start too must leave the count
            self._start_failed(name, SandboxFailed("the sandbox could not be started", retry_after=5))
            raise
        self._failures = 0
        if self._ledger.arrived(name, kernel):
            if not self._waiting.serve(name, kernel):
                self.release(kernel)
        elif generation != self._generation and self._ledger.lost(name, kernel):  # `renew` or `resize` came meanwhile
            self._begin_removal(kernel)
        else:
            self._is_warm(kernel)

    def _is_warm(self, kernel: Kernel) -> None:
        kernel.on_gone(lambda: self._lost(kernel))
        self._register.keep(kernel)
        self.log.debug("%r is warm", kernel)

    def _start_failed(self, name: str, error: SandkastenError) -> None:
        delay = BACKOFF_SECONDS[min(self._failures, len(BACKOFF_SECONDS) - 1)]
        self._failures += 1
        self._no_refill_before = max(self._no_refill_before, time.monotonic() + delay)
        if not self._closed:
            self.log.error("a sandbox for %s could not be started: %s", name, error.message)
        if self._ledger.failed(name):
            self._waiting.fail_first(name, error)

    def _lost(self, kernel: Kernel) -> None:
        if self._ledger.lost(kernel.spec.name, kernel):
            self.log.warning("%r died in the pool: %s", kernel, kernel.reason)
            self._launcher.lost(kernel)
            self._begin_removal(kernel)

    async def _remove(self, kernel: Kernel) -> None:
        # Before the sandbox ends: a later process must not look for it.
        self._register.forget(kernel)
        try:
            await self._launcher.destroy(kernel)
        finally:
            self._ledger.removed()
