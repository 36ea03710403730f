"""The figures of a gateway's parts, as Prometheus reads them."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from sandkasten_kernels.background import BackgroundTasks
from sandkasten_kernels.status.gauges import Gauges
from sandkasten_kernels.telemetry.metrics import Metrics


async def test_failures_of_background_tasks_are_counted_by_task(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise RuntimeError("a defect")

    tasks = BackgroundTasks(logging.getLogger("tasks"))
    parts: Any = SimpleNamespace(status=list, totals=lambda: {"ending": 0, "max": 1}, under_way=0)
    sessions: Any = []
    registry = CollectorRegistry()
    registry.register(Gauges(Metrics(), parts, sessions, parts, tmp_path, tasks.failures))
    name = "sandkasten_background_failures_total"
    assert f"# TYPE {name} counter" in generate_latest(registry).decode()
    for group in (tasks.group(), tasks.group()):
        with pytest.raises(RuntimeError):
            await group.run("quota", fail())
        await group.cleanup()
    assert registry.get_sample_value(name, {"task": "quota"}) == 2
    assert caplog.text.count("the background task 'quota' failed") == 2
