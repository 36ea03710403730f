"""Kernels that an earlier process left, without Docker: reached with patience, discarded in one call."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any, cast

import pytest

from sandkasten_kernels import retry as retry_module
from sandkasten_kernels.engines import Engine, LeftSandbox, SandboxSpec
from sandkasten_kernels.errors import EngineError
from sandkasten_kernels.kernels.kernel import Kernel
from sandkasten_kernels.kernels.record import KernelRecord, Recalled
from sandkasten_kernels.kernelspecs.kernelspec import Kernelspec
from sandkasten_kernels.pool import left as left_module
from sandkasten_kernels.pool.left import LeftKernel
from sandkasten_kernels.store import Store
from sandkasten_kernels.workspaces.workspaces import Lease

LOG = logging.getLogger("tests.left")
SPEC = cast(Kernelspec, None)


class Away:
    """An engine that does not answer the first calls."""

    def __init__(self, calls: int) -> None:
        self.calls = calls
        self.removed: list[str] = []

    async def remove_left(self, left: LeftSandbox) -> None:
        self.check()
        self.removed.append(left.id)

    def check(self) -> None:
        self.calls -= 1
        if self.calls >= 0:
            raise EngineError("away")


class Reached:
    """A kernel whose guest remembers nothing, or fails to answer."""

    workspace: Lease | None = None

    def __init__(self, error: Exception | None = None) -> None:
        self.left = 0
        self._error = error

    async def resume(self, record: KernelRecord) -> Recalled:
        if self._error:
            raise self._error
        return Recalled(None, None, "", "")

    def leave(self) -> None:
        self.left += 1


@pytest.fixture(autouse=True)
def short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left_module, "REACH_DELAYS", (0.001,) * 3)
    monkeypatch.setattr(left_module, "forever", lambda: retry_module.forever((0.001,)))


@pytest.fixture
def store(tmp_path: Path) -> Any:
    store = Store(tmp_path / "store.sqlite")
    yield store
    store.close()


def left_kernel(
    store: Store, engine: Away, kernel: Reached, lease: Lease | None = None, ready: asyncio.Event | None = None
) -> LeftKernel:
    """Return a stored kernel whose engine and whose connection are these."""
    if ready is None:
        ready = asyncio.Event()
        ready.set()
    sandbox = LeftSandbox("box", SandboxSpec("python"), "handle", b"key")
    record = KernelRecord(
        id="k", kernelspec="python3", sandbox=sandbox, key="", sockets={}, identity="i", session="s", pid=1
    )
    store.connect("k", record.as_json())

    async def connect(spec: Kernelspec, record: KernelRecord) -> Kernel:
        engine.check()
        return cast(Kernel, kernel)

    return LeftKernel(record, lease, connect, ready.wait, cast(Engine, engine), store, None, LOG)


async def test_a_kernel_is_reached_when_the_engine_answers_within_four_attempts(store: Store) -> None:
    kernel, lease = Reached(), Lease("w")
    left = left_kernel(store, Away(3), kernel, lease)
    assert await left.reach(SPEC) is cast(Kernel, kernel)
    assert await left.resume() == Recalled(None, None, "", "")
    assert kernel.workspace is None
    left.keep()
    assert (kernel.workspace, lease.closed.is_set(), kernel.left) == (lease, False, 0)
    assert list(store.connections()) == ["k"]


async def test_an_engine_that_stays_away_is_an_error_and_nothing_is_removed(store: Store) -> None:
    engine = Away(4)
    with pytest.raises(EngineError):
        await left_kernel(store, engine, Reached()).reach(SPEC)
    assert (engine.removed, list(store.connections())) == ([], ["k"])


async def test_a_kernel_is_discarded_only_when_the_engine_is_set_up_and_frees_its_workspace(store: Store) -> None:
    engine, kernel, lease, ready = Away(0), Reached(), Lease("w"), asyncio.Event()
    left = left_kernel(store, engine, kernel, lease, ready)
    await left.reach(SPEC)
    engine.calls = 2
    discard = asyncio.ensure_future(left.discard("nobody wants it"))
    await asyncio.sleep(0.01)
    assert (lease.ending, lease.closed.is_set(), engine.removed, kernel.left) == (True, False, [], 1)
    ready.set()
    await asyncio.wait_for(discard, 10)
    assert (lease.closed.is_set(), engine.removed, store.connections()) == (True, ["box"], {})


async def test_a_kernel_that_does_not_resume_gives_its_connections_back(store: Store) -> None:
    kernel = Reached(ZeroDivisionError("a defect"))
    left = left_kernel(store, Away(0), kernel)
    await left.reach(SPEC)
    with pytest.raises(ZeroDivisionError):
        await left.resume()
    assert kernel.left == 1
