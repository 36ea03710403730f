"""Adoption: what an earlier process of the gateway left is taken over, by what the store knows and the engine has."""

from __future__ import annotations

import asyncio
import logging

from ..engines import Engine
from ..errors import EngineError, SandboxFailed, StoreFailed, UnknownKernelspec
from ..kernels.kernel import Kernel
from ..kernels.record import KernelRecord
from ..kernelspecs.kernelspec import Kernelspec, Kernelspecs
from ..pool.launcher import Launcher
from ..pool.pool import Pool
from ..sessions.sessions import Sessions
from ..store import Record, Store
from ..workspaces.workspaces import Lease, Workspaces

__all__ = ["Adoption"]

READY_SECONDS = 2.5
"""So long the gateway waits for sandboxes before it serves; those that take longer are adopted meanwhile."""
ENGINE_TRIES, ENGINE_RETRY_SECONDS = 3, 1.0


class Adoption:
    """Finds the sessions and the warm kernels that an earlier process left.

    Invariants: a sandbox that the store knows is not removed unless it has ended, cannot be reached or nobody wants it;
    what cannot be adopted because the engine does not answer is left as it is.
    """

    def __init__(
        self,
        store: Store,
        engine: Engine,
        launcher: Launcher,
        pool: Pool,
        sessions: Sessions,
        workspaces: Workspaces,
        specs: Kernelspecs,
        log: logging.Logger,
    ) -> None:
        self._store = store
        self._engine = engine
        self._launcher = launcher
        self._pool = pool
        self._sessions = sessions
        self._workspaces = workspaces
        self._specs = specs
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()
        self._engine_ready = asyncio.Event()

    def begin(self) -> None:
        """Begin to adopt, while the engine is set up; it is told what to leave alone."""
        running = {record.id: record for record in self._store.running()}
        kernels = {}
        for kernel_id, data in self._store.connections().items():
            try:
                kernels[kernel_id] = KernelRecord.from_json(data)
            except ValueError as error:
                self._log.warning("kernel %s is not adopted: %s", kernel_id, error)
                self._store.disconnect(kernel_id)
        for session_id, record in running.items():
            if session_id not in kernels:
                self._lost(record, "the gateway ended while this session was made")
        self._engine.left = frozenset(kernel.sandbox.id for kernel in kernels.values())
        for kernel_id, kernel in kernels.items():
            session = running.get(kernel_id)
            if session:
                self._sessions.expect(session)
            self._tasks.add(asyncio.create_task(self._adopt(kernel, session)))

    async def finish(self) -> None:
        """Return when all is adopted, or soon; call it when the engine is set up. Raises `EngineError`."""
        self._engine_ready.set()
        if not self._tasks:
            return
        done, late = await asyncio.wait(self._tasks, timeout=READY_SECONDS)
        for task in done:
            task.result()
        for task in late:
            task.add_done_callback(self._late)
        number = len(self._sessions)
        self._log.info(
            "sessions of an earlier process that go on: %d%s", number, f"; late: {len(late)}" if late else ""
        )

    async def cleanup(self) -> None:
        """Adopt and remove nothing more; a second call does nothing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _late(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._log.error("a sandbox could not be adopted", exc_info=error)

    async def _adopt(self, kernel: KernelRecord, record: Record | None) -> None:
        """Adopt one kernel for its session, or for the pool where it has none."""
        # before anything is waited for: until it is known what becomes of the session its workspace is in use
        use = self._workspaces.adopt(record.workspace_id, record.id) if record and record.workspace_id else None
        try:
            spec = self._specs.get(kernel.kernelspec)
            adopted = await self._returned(spec, kernel)
            session = self._sessions.restored(record, adopted, kernel.clients) if record else None
            try:
                recalled = await adopted.resume(kernel)
            except BaseException:
                adopted.leave()
                raise
        except (SandboxFailed, UnknownKernelspec) as error:
            await self._give_up(kernel, record, use, error.message)
            return
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
            # a defect here, which a sandbox may provoke, must not keep the gateway from starting
            self._log.exception("sandbox %s cannot be adopted", kernel.sandbox.id)
            await self._give_up(kernel, record, use, "the gateway failed to take it over; its log has the cause")
            return
        if record and session:
            adopted.workspace = use
            self._sessions.go_on(session, record, recalled)
            return
        used = recalled.note is None or recalled.note.owned
        if used or not self._pool.adopt(adopted):
            await self._engine_ready.wait()
            self._pool.reject(adopted)
            self._forget(kernel)

    async def _give_up(self, kernel: KernelRecord, record: Record | None, use: Lease | None, reason: str) -> None:
        """End what cannot be adopted."""
        if record:
            self._lost(record, reason)
        if use:
            use.ending = True
        await self._engine_ready.wait()
        await self._launcher.remove_left(kernel)
        if use:
            use.close()
        self._forget(kernel)

    async def _returned(self, spec: Kernelspec, kernel: KernelRecord) -> Kernel:
        for _ in range(ENGINE_TRIES):
            try:
                return await self._launcher.adopt(spec, kernel)
            except EngineError as error:
                self._log.warning("sandbox %s is not adopted yet: %s", kernel.sandbox.id, error.message)
            await asyncio.sleep(ENGINE_RETRY_SECONDS)
        return await self._launcher.adopt(spec, kernel)

    def _lost(self, record: Record, reason: str) -> None:
        self._sessions.lost(record, reason)

    def _forget(self, kernel: KernelRecord) -> None:
        try:
            self._store.disconnect(kernel.id)
        except StoreFailed as error:
            self._log.warning("a sandbox that is gone is still stored: %s", error)
