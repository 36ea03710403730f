"""Executions over ``/v1`` are under way when the gateway is killed: they run to their end, and the next ones wait."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api
from tests.support.waiting import eventually

pytestmark = [pytest.mark.local, pytest.mark.core]

LEFT = (
    {"code": "import os, time\nopen('cell', 'w')\nwhile not os.path.exists('go'): time.sleep(0.05)\nx = 42"},
    {"cmd": "touch command; while [ ! -e go ]; do sleep 0.1; done; y=43"},
)
NEXT = ({"code": "print(x)"}, {"cmd": "echo $y"})


async def v1(api: Api, method: str, path: str, /, **body: Any) -> tuple[int, dict[str, Any]]:
    response = await api.request(method, f"/v1/sessions{path}", body if method == "POST" else None)
    return response.code, json.loads(response.body)


async def until_there(api: Api, session: str, *names: str) -> None:
    """Return when a session answers and has these files."""
    for name in names:
        path = f"/{session}/fs/read?path={name}"
        await eventually(lambda path=path: v1(api, "GET", path), lambda found: found[0] == 200)


async def test_what_an_execution_had_started_runs_to_its_end_and_the_next_one_waits_for_that(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path, "pool: {enabled: false}\n", engine="local") as running:
        async with Api(running.url, running.token) as api:
            session = (await v1(api, "POST", ""))[1]["id"]
            left = [asyncio.ensure_future(v1(api, "POST", f"/{session}/exec", **job)) for job in LEFT]
            await until_there(api, session, "cell", "command")
            await asyncio.to_thread(running.kill)
            answers = await asyncio.gather(*left, return_exceptions=True)
            assert all(isinstance(answer, Exception) for answer in answers), answers
        await asyncio.to_thread(running.start_again)
        async with Api(running.url, running.token) as api:
            await until_there(api, session, "cell")
            after = [asyncio.ensure_future(v1(api, "POST", f"/{session}/exec", **job)) for job in NEXT]
            assert not (await asyncio.wait(after, timeout=0.3))[0]
            assert (await v1(api, "POST", f"/{session}/fs/write", path="go", text=""))[0] == 200
            assert [(await each)[1]["output"] for each in after] == ["42\n", "43\n"]
    assert "Traceback" not in running.log.read_text()
