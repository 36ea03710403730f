"""A workspace above its quota is stopped, also after a measurement has failed unexpectedly."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from sandkasten_kernels import background
from sandkasten_kernels.background import BackgroundTasks
from sandkasten_kernels.sessions import quota
from sandkasten_kernels.sessions.quota import QuotaMonitor
from tests.support.waiting import eventually


class Engine:
    """Says that every workspace grows by a MiB with each measurement; the first one fails unexpectedly."""

    def __init__(self) -> None:
        self.measured = 0

    def stored_in(self, sandbox: object, workspace_id: str) -> str:
        return workspace_id

    async def workspace_size(self, name: str) -> tuple[int, bool]:
        self.measured += 1
        if self.measured == 1:
            raise ZeroDivisionError("a defect")
        return self.measured * 2**20, True


class Kernel:
    """A kernel that counts how often it was stopped, and in which something always runs."""

    sandbox = None

    def __init__(self) -> None:
        self.stopped: list[str] = []

    async def stop(self, reason: str) -> bool:
        self.stopped.append(reason)
        return True


async def test_quotas_are_enforced_after_a_measurement_has_failed_unexpectedly(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(quota, "MIN_PAUSE_SECONDS", 0.01)
    kernel, record = Kernel(), SimpleNamespace(workspace_id="full", owner="default")
    sessions: Any = [SimpleNamespace(id="a", crashed=None, kernel=kernel, record=record)]
    engine: Any = Engine()
    log = logging.getLogger("test")
    tasks = BackgroundTasks(log)
    monitor = QuotaMonitor(sessions, engine, 1, log, tasks.group())
    monitor.setup()
    try:
        await eventually(lambda: len(kernel.stopped) >= 2)
    finally:
        await monitor.cleanup()
    assert "limits.workspace_mb is 1" in kernel.stopped[0]
    assert "the background task 'quota monitor' failed" in caplog.text
    assert "a defect" in caplog.text
    assert tasks.failures == {"quota monitor": 1}
