"""The heartbeat of a kernel: it goes on after an unexpected exception, and ends when no client waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

import pytest

from sandkasten_kernels import background
from sandkasten_kernels.background import BackgroundTasks
from sandkasten_kernels.kernels.heartbeat import Heartbeat
from sandkasten_kernels.relay.link import KernelLink
from tests.support.waiting import eventually


class SilentLink:
    """A link to a kernel that answers when the test says so; its first heartbeats raise."""

    def __init__(self, failures: int) -> None:
        self.waiting = True
        self.heard_at = 0.0
        self.posts: list[asyncio.Future[Any]] = []
        self.request: Callable[[], object] = lambda: None
        self._failures = failures

    def on_request(self, callback: Callable[[], object]) -> None:
        self.request = callback

    def post(self, channel: str, msg_type: str, content: Any) -> asyncio.Future[Any]:
        if self._failures:
            self._failures -= 1
            raise ZeroDivisionError("a defect")
        self.posts.append(asyncio.get_running_loop().create_future())
        return self.posts[-1]


async def test_a_heartbeat_goes_on_after_an_unexpected_exception_which_is_logged_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "FIRST_PAUSE_SECONDS", 0.001)
    tasks = BackgroundTasks(logging.getLogger("tests.heartbeat"))
    link, reports = SilentLink(failures=1), list[str]()
    heartbeat = Heartbeat(cast(KernelLink, link), 0.01, reports.append, tasks)
    link.request()
    await eventually(lambda: heartbeat.unresponsive)
    assert tasks.failures == {"heartbeat": 1}
    assert "'heartbeat' failed" in caplog.text
    assert "a defect" in caplog.text
    assert reports == ["no answer for 0.01 s: its process is stopped, or a cell blocks all its threads"]
    link.posts[-1].set_result(None)
    await eventually(lambda: not heartbeat.unresponsive)
    assert reports[1] == ""
    heartbeat.close()
    await eventually(lambda: not len(tasks))


async def test_a_heartbeat_ends_when_no_client_waits_and_begins_again_with_the_next_request() -> None:
    tasks = BackgroundTasks(logging.getLogger("tests.heartbeat"))
    link = SilentLink(failures=0)
    heartbeat = Heartbeat(cast(KernelLink, link), 0.01, lambda reason: None, tasks)
    link.waiting = False
    link.request()
    await eventually(lambda: not len(tasks))
    assert link.posts == []
    link.waiting = True
    link.request()
    await eventually(lambda: link.posts)
    heartbeat.close()
    await tasks.cleanup()


async def test_a_heartbeat_of_zero_seconds_is_off() -> None:
    tasks = BackgroundTasks(logging.getLogger("tests.heartbeat"))
    link = SilentLink(failures=0)
    Heartbeat(cast(KernelLink, link), 0, lambda reason: None, tasks)
    link.request()
    assert len(tasks) == 0
