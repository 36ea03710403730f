"""The launcher without Docker: removals are tried again, and an unexpected failure of one is logged and counted."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

import pytest

from sandkasten_kernels import retry as retry_module
from sandkasten_kernels.background import BackgroundTasks
from sandkasten_kernels.config.traits import Defaults
from sandkasten_kernels.engines import Engine, Sandbox
from sandkasten_kernels.errors import EngineError, SandboxFailed
from sandkasten_kernels.kernels.kernel import Kernel
from sandkasten_kernels.kernelspecs.kernelspec import Kernelspecs
from sandkasten_kernels.pool import launcher as launcher_module
from sandkasten_kernels.pool.launcher import Launcher
from tests.support.waiting import eventually

LOG = logging.getLogger("tests.launcher")


class OneSandbox:
    """An engine with one sandbox; removing it raises these errors first."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.removed = asyncio.Event()

    async def start(self, spec: Any) -> Sandbox:
        return cast(Sandbox, type("Box", (), {"id": "box", "room": None})())

    async def how_ended(self, sandbox: Sandbox) -> str:
        return ""

    async def destroy(self, sandbox: Sandbox) -> None:
        if self._errors:
            raise self._errors.pop(0)
        self.removed.set()


class DeadKernel:
    """A kernel that does not start."""

    workspace = None

    def __init__(self, sandbox: Sandbox, *args: Any) -> None:
        self.sandbox = sandbox

    async def start(self) -> None:
        raise SandboxFailed("it did not start")

    def close(self, reason: str) -> None:
        pass


@pytest.fixture(autouse=True)
def kernels_that_do_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher_module, "Kernel", cast(type[Kernel], DeadKernel))
    monkeypatch.setattr(launcher_module, "forever", lambda: retry_module.forever((0.001,)))


async def test_the_sandbox_of_a_failed_start_is_removed_as_soon_as_the_engine_answers_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine, tasks = OneSandbox(EngineError("away"), EngineError("away")), BackgroundTasks(LOG)
    launcher = Launcher(cast(Engine, engine), Defaults(), LOG, tasks)
    with pytest.raises(SandboxFailed, match="did not start"):
        await launcher.start(Kernelspecs().get())
    await asyncio.wait_for(engine.removed.wait(), 10)
    assert caplog.text.count("sandbox box is not removed yet, next try in 0.001 s: away") == 2
    assert not tasks.failures
    await launcher.cleanup()


async def test_an_unexpected_exception_of_a_removal_is_logged_with_its_name_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine, tasks = OneSandbox(ZeroDivisionError("a defect")), BackgroundTasks(LOG)
    launcher = Launcher(cast(Engine, engine), Defaults(), LOG, tasks)
    for _ in range(2):
        with pytest.raises(SandboxFailed, match="did not start"):
            await launcher.start(Kernelspecs().get())
    await asyncio.wait_for(engine.removed.wait(), 10)
    await eventually(lambda: tasks.failures == {"removal of a sandbox that failed to start": 1})
    assert "'removal of a sandbox that failed to start' failed" in caplog.text
    assert "a defect" in caplog.text
    await launcher.cleanup()


async def test_cleanup_gives_up_a_removal_that_waits_for_the_engine() -> None:
    engine = OneSandbox(*(EngineError("away") for _ in range(10_000)))
    launcher = Launcher(cast(Engine, engine), Defaults(), LOG, BackgroundTasks(LOG))
    with pytest.raises(SandboxFailed, match="did not start"):
        await launcher.start(Kernelspecs().get())
    await launcher.cleanup()
    assert not engine.removed.is_set()
