"""Adoption: takes over the sessions and the warm kernels that an earlier gateway process left."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from ..background import BackgroundTasks
from ..engines import Engine
from ..errors import SandboxFailed, UnknownKernelspec
from ..kernels import Kernel, KernelRecord
from ..kernelspecs import Kernelspecs
from ..pool import Launcher, LeftKernel, Pool
from ..sessions import Session, SessionJournal, Sessions
from ..store import Record, Store
from ..workspaces import Workspaces

__all__ = ["Adoption"]

READY_SECONDS = 2.5
"""How long the gateway waits for adoptions before it serves. The slower ones go on in the background."""


class Adoption:
    """Finds what an earlier process left by what the store knows and the engine has.

    Invariants: a sandbox in the store is removed only if it has ended, cannot be reached, or neither a session nor the
    pool wants it. While the engine does not answer nothing is removed.

    Parameters
    ----------
    journal: gets what becomes of the sessions.
    tasks: owner of the adoptions, which may take longer than the start of the gateway.
    """

    def __init__(
        self,
        store: Store,
        engine: Engine,
        launcher: Launcher,
        pool: Pool,
        sessions: Sessions,
        journal: SessionJournal,
        workspaces: Workspaces,
        specs: Kernelspecs,
        log: logging.Logger,
        tasks: BackgroundTasks,
    ) -> None:
        self._store = store
        self._engine = engine
        self._launcher = launcher
        self._pool = pool
        self._sessions = sessions
        self._journal = journal
        self._workspaces = workspaces
        self._specs = specs
        self._log = log
        self._tasks = tasks.group()
        self._adoptions: list[asyncio.Task[None]] = []
        self._engine_ready = asyncio.Event()

    def begin(self) -> None:
        """Begin to adopt; call it before `Engine.setup`, which leaves the sandboxes in `Engine.left` alone."""
        records = {record.id: record for record in self._store.running()}
        kernels = {}
        for kernel_id, data in self._store.connections().items():
            try:
                kernels[kernel_id] = KernelRecord.from_json(data)
            except ValueError as error:
                self._log.warning("kernel %s is not adopted: %s", kernel_id, error)
                self._store.disconnect(kernel_id)
        for session_id, record in records.items():
            if session_id not in kernels:
                self._lost(record, "the gateway ended while this session was made")
        self._engine.left = frozenset(kernel.sandbox.id for kernel in kernels.values())
        for kernel_id, kernel in kernels.items():
            session = records.get(kernel_id)
            if session:
                self._sessions.returning.add(session)
            self._adoptions.append(self._tasks.run("adoption", self._adopt(kernel, session)))

    async def finish(self) -> None:
        """Return when everything is adopted, or after `READY_SECONDS`; call it when the engine is set up.

        Raises `EngineError`, and `StoreFailed`, of an adoption that has failed by then; a later failure is logged.
        """
        self._engine_ready.set()
        if not self._adoptions:
            return
        done, late = await asyncio.wait(self._adoptions, timeout=READY_SECONDS)
        for task in done:
            task.result()
        number = len(self._sessions)
        self._log.info(
            "sessions of an earlier process that go on: %d%s", number, f"; late: {len(late)}" if late else ""
        )

    async def cleanup(self) -> None:
        """Adopt and remove nothing more; a second call does nothing."""
        await self._tasks.cleanup()

    async def _adopt(self, kernel_record: KernelRecord, record: Record | None) -> None:
        """Adopt one kernel for its session, or for the pool where it has none."""
        # Taken before anything is awaited: nobody may delete or attach the workspace until the adoption is decided.
        lease = self._workspaces.adopt(record.workspace_id, record.id) if record and record.workspace_id else None
        left = self._launcher.adopt(kernel_record, lease, self._engine_ready.wait, self._store)
        try:
            kernel = await left.reach(self._specs.get(kernel_record.kernelspec))
            # The clients have their seats before the kernel is resumed, because resuming delivers its backlog to them.
            session = self._restored(record, kernel, kernel_record) if record else None
            recalled = await left.resume()
        except (SandboxFailed, UnknownKernelspec) as error:
            await self._give_up(left, record, error.message)
            return
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
            # A sandbox may provoke a defect of ours; that must not keep the gateway from starting.
            self._log.exception("sandbox %s cannot be adopted", kernel_record.sandbox.id)
            await self._give_up(left, record, "the gateway failed to take it over; its log has the cause")
            return
        left.keep()
        if session:
            session.resumed(recalled)
            self._sessions.adopt(session)
        elif recalled.note is None or recalled.note.owned or not self._pool.adopt(kernel):
            # A kernel that has had an owner is never given to another one.
            await self._engine_ready.wait()
            self._pool.reject(kernel)

    def _restored(self, record: Record, kernel: Kernel, kernel_record: KernelRecord) -> Session:
        """Return the session as it was stored, with the seats of its clients."""
        session = Session(kernel, record)
        session.seats.restore(kernel_record.clients)
        kernel.on_change(partial(self._journal.changed, session))
        return session

    async def _give_up(self, left: LeftKernel, record: Record | None, reason: str) -> None:
        if record:
            self._lost(record, reason)
        await left.discard(reason)

    def _lost(self, record: Record, reason: str) -> None:
        """End a session that cannot go on. Raises `StoreFailed`."""
        self._sessions.returning.discard(record.id)
        self._journal.lost(record, reason)
