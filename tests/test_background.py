"""Background tasks: a failure is logged and counted, work that must go on goes on, and nothing is left."""

from __future__ import annotations

import asyncio
import logging

import pytest

from sandkasten_kernels import background
from sandkasten_kernels.background import BackgroundTasks

LOG = logging.getLogger("tests.background")


async def test_a_task_that_fails_is_logged_with_its_name_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    tasks = BackgroundTasks(LOG)

    async def work() -> None:
        raise ValueError("no luck")

    task = tasks.run("guess", work())
    await asyncio.wait([task])
    assert tasks.failures == {"guess": 1}
    assert "'guess' failed" in caplog.text
    assert "no luck" in caplog.text
    assert len(tasks) == 0


async def test_a_failure_of_an_awaited_task_is_its_callers_alone(caplog: pytest.LogCaptureFixture) -> None:
    tasks = BackgroundTasks(LOG)

    async def work() -> None:
        raise ValueError("no luck")

    with pytest.raises(ValueError, match="no luck"):
        await tasks.awaited("guess", work())
    waiting = tasks.awaited("wait", asyncio.sleep(60))
    await tasks.cleanup()
    assert waiting.cancelled()
    assert not tasks.failures
    assert caplog.text == ""


async def test_what_must_go_on_starts_again_after_each_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "FIRST_PAUSE_SECONDS", 0.001)
    tasks = BackgroundTasks(LOG)
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs < 4:
            raise ValueError(runs)

    await tasks.keep("watch", work)
    assert (runs, tasks.failures) == (4, {"watch": 3})


async def test_cleanup_cancels_what_runs_and_waits_for_it() -> None:
    tasks = BackgroundTasks(LOG)
    ended = False

    async def work() -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended = True

    task = tasks.keep("watch", work)
    await asyncio.sleep(0)
    await tasks.cleanup()
    await tasks.cleanup()
    assert ended
    assert task.cancelled()
    assert (len(tasks), tasks.failures) == (0, {})


async def test_groups_share_their_counts_and_end_apart() -> None:
    whole = BackgroundTasks(LOG)
    part = whole.group()

    async def fail() -> None:
        raise ValueError

    async def wait() -> None:
        await asyncio.Event().wait()

    await asyncio.wait([part.run("part", fail())])
    waiting = whole.run("whole", wait())
    await part.cleanup()
    assert not waiting.done()
    assert whole.failures == {"part": 1}
    await whole.cleanup()
