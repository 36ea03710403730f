"""Restarts and exit reasons without a sandbox: one at a time, a failure ends in words, and the engine is asked once."""

from __future__ import annotations

import asyncio
import logging
from typing import cast

import pytest

from sandkasten_kernels.background import BackgroundTasks
from sandkasten_kernels.engines import Sandbox
from sandkasten_kernels.errors import EngineError
from sandkasten_kernels.kernels.exit_reason import ExitReason
from sandkasten_kernels.kernels.restarts import MAX_DEATHS, Restarts
from tests.support.waiting import eventually

LOG = logging.getLogger("tests.restarts")


class Box:
    """A sandbox that has ended."""

    id = "box"
    alive = False


async def test_a_restart_that_fails_is_logged_and_counted_and_the_kernel_gets_a_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks, reasons = BackgroundTasks(LOG), list[str]()
    restarts = Restarts(reasons.append, tasks)

    async def restart() -> None:
        raise ZeroDivisionError("a defect")

    restarts.begin(restart())
    assert restarts.under_way
    await eventually(lambda: not restarts.under_way)
    assert reasons == ["it could not be started again"]
    assert tasks.failures == {"restart of a kernel that died": 1}
    assert "a defect" in caplog.text


async def test_a_restart_that_is_cancelled_gives_the_kernel_a_reason() -> None:
    tasks, reasons = BackgroundTasks(LOG), list[str]()
    restarts = Restarts(reasons.append, tasks)
    restarts.begin(asyncio.sleep(60))
    restarts.close()
    await eventually(lambda: not restarts.under_way)
    assert (reasons, dict(tasks.failures)) == (["it was not started again"], {})


async def test_a_kernel_that_keeps_dying_is_refused() -> None:
    restarts = Restarts(lambda reason: None, BackgroundTasks(LOG))
    assert [restarts.refused() for _ in range(MAX_DEATHS + 1)] == [False] * MAX_DEATHS + [True]


async def test_the_engine_is_asked_once_and_a_cancelled_caller_does_not_take_the_answer_from_the_others() -> None:
    asked, answer = 0, asyncio.Event()

    async def how_ended(sandbox: Sandbox) -> str:
        nonlocal asked
        asked += 1
        await answer.wait()
        return "it ran out of luck"

    reason = ExitReason(cast(Sandbox, Box()), how_ended, LOG, BackgroundTasks(LOG))
    callers = [asyncio.ensure_future(reason.of_sandbox()) for _ in range(3)]
    await asyncio.sleep(0)
    callers[0].cancel()
    answer.set()
    assert await asyncio.gather(*callers[1:]) == ["it ran out of luck"] * 2
    assert await reason.or_sandbox("the connection was lost") == "it ran out of luck"
    assert asked == 1


async def test_an_engine_that_does_not_know_or_does_not_answer_leaves_a_reason_too() -> None:
    async def silent(sandbox: Sandbox) -> str:
        return ""

    async def away(sandbox: Sandbox) -> str:
        raise EngineError("away")

    box, tasks = cast(Sandbox, Box()), BackgroundTasks(LOG)
    assert await ExitReason(box, silent, LOG, tasks).of_sandbox() == "its sandbox ended"
    assert await ExitReason(box, away, LOG, tasks).of_sandbox() == (
        "its sandbox ended, and the engine does not say how"
    )
