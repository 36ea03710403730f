"""A session over ``/v1`` is interrupted, restarted and given more time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from tests.support.kernel_client import Api
from tests.support.v1_requests import begun, create, ended, post, run, when

pytestmark = [pytest.mark.local, pytest.mark.core]


@pytest.fixture(params=["base"])
async def session(api: Api, request: pytest.FixtureRequest) -> AsyncIterator[dict[str, Any]]:
    made = await create(api, image=request.param, ttl_seconds=600)
    yield made
    await api.request("DELETE", f"/v1/sessions/{made['id']}")


python = pytest.mark.parametrize("session", ["python"], indirect=True)


async def control(api: Api, session: dict[str, Any], verb: str, status: int = 200, **body: Any) -> dict[str, Any]:
    return await post(api, f"/v1/sessions/{session['id']}/{verb}", status, **body)


@python
async def test_interrupt_ends_a_command_and_a_cell_and_both_live_on(api: Api, session: dict[str, Any]) -> None:
    assert await control(api, session, "interrupt") == {"ok": True}
    command = asyncio.create_task(run(api, session, cmd="A=1; touch command; sleep 100"))
    cell = asyncio.create_task(run(api, session, code="b = 2; open('cell', 'w').close(); import time; time.sleep(100)"))
    await begun(api, session, "command")
    await begun(api, session, "cell")
    assert await control(api, session, "interrupt") == {"ok": True}
    assert (await command)["exit_code"] == 130
    assert "KeyboardInterrupt" in (await cell)["output"]
    assert (await run(api, session, cmd="echo $A"))["output"] == "1\n"
    assert (await run(api, session, code="print(b)"))["output"] == "2\n"


async def test_interrupt_reaches_what_runs_on_an_image_whose_kernel_is_the_shell(
    api: Api, session: dict[str, Any]
) -> None:
    command = asyncio.create_task(run(api, session, cmd="touch command; sleep 100"))
    await begun(api, session, "command")
    await control(api, session, "interrupt")
    assert (await command)["exit_code"] == 130


@python
async def test_restart_takes_the_variables_and_leaves_files_and_shell(api: Api, session: dict[str, Any]) -> None:
    await run(api, session, code="a = 1; open('f', 'w').write('kept')")
    await run(api, session, cmd="B=2")
    info = await control(api, session, "restart")
    assert (info["id"], info["status"]) == (session["id"], "running")
    assert "NameError" in (await run(api, session, code="a"))["output"]
    assert (await run(api, session, cmd="echo $B; cat f"))["output"] == "2\nkept"


async def test_extend_renews_now_and_may_change_the_time(api: Api, session: dict[str, Any]) -> None:
    def left(info: dict[str, Any]) -> timedelta:
        return when(info["expires_at"]) - when(info["last_activity"])

    same = await control(api, session, "extend")
    assert when(same["last_activity"]) > when(session["last_activity"])
    assert (same["ttl_seconds"], left(same)) == (600, timedelta(seconds=600))
    longer = await control(api, session, "extend", ttl_seconds=5000)
    assert (longer["ttl_seconds"], left(longer)) == (5000, timedelta(seconds=5000))
    assert (await control(api, session, "extend", ttl_seconds=0))["ttl_seconds"] == 1800
    for wrong in (-1, 86401, "600", 1.5, True):
        answer = await control(api, session, "extend", 400, ttl_seconds=wrong)
        assert answer["message"].startswith("ttl_seconds: must be a whole number from 0 to 86400")
    assert (await api.get(f"/v1/sessions/{session['id']}"))["ttl_seconds"] == 1800


async def test_a_time_that_was_made_shorter_ends_the_session(api: Api, session: dict[str, Any]) -> None:
    await control(api, session, "extend", ttl_seconds=1)
    info = await ended(api, session)
    assert (info["status"], info["reason"]) == ("expired", "idle for 1 s")


async def test_a_session_that_is_not_there_cannot_be_controlled(api: Api, session: dict[str, Any]) -> None:
    await api.request("DELETE", f"/v1/sessions/{session['id']}")
    for verb in ("interrupt", "restart", "extend"):
        assert (await control(api, session, verb, 410))["error_code"] == "SESSION_EXPIRED"
        assert (await control(api, {"id": "none"}, verb, 404))["error_code"] == "SESSION_NOT_FOUND"
