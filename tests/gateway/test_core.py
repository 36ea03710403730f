"""The whole core without Docker: a kernel from its claim to its end, over both APIs, on the local engine.

Each test is one path through sessions, pool, claims, launcher, adoption and handlers; the modules of these have more.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.gateway_restart import restarted
from tests.support.kernel_client import Api, execute_content
from tests.support.v1_requests import WAITS, begun, create, ended, go, run
from tests.support.waiting import eventually

pytestmark = [pytest.mark.local, pytest.mark.core]


async def test_a_warm_kernel_is_claimed_with_its_owners_environment_and_replaced(api: Api) -> None:
    await eventually(api.pool, lambda pool: pool["warm"] == pool["target"])
    session = await create(api, env={"COLOUR": "blue"}, name="mine")
    assert (session["acquire_source"], session["status"], session["name"]) == ("pool", "running", "mine")
    assert (await run(api, session, code="import os; print(os.environ['COLOUR'])"))["output"] == "blue\n"
    assert (await run(api, session, cmd="echo $COLOUR"))["output"] == "blue\n"
    await eventually(api.pool, lambda pool: (pool["warm"], pool["claimed"]) == (pool["target"], 1))
    assert [kernel["id"] for kernel in await api.kernels()] == [session["id"]]


async def test_cells_are_interrupted_and_a_restart_gives_a_new_kernel_in_the_same_sandbox(api: Api) -> None:
    kernel = await api.create()
    socket = await api.connect(kernel)
    assert (await socket.execute("x = 6 * 7; print(x)")).stream() == "42\n"
    cell = await socket.send("execute_request", execute_content("print('on', flush=True)\nwhile True: pass"))
    await socket.said("on\n")
    assert (await api.request("POST", f"/api/kernels/{kernel}/interrupt")).code == 204
    assert (await socket.result(cell)).reply["ename"] == "KeyboardInterrupt"
    assert (await socket.execute("open('kept', 'w').close(); print(x)")).stream() == "42\n"
    assert (await api.request("POST", f"/api/kernels/{kernel}/restart")).code == 200
    socket = await api.connect(kernel)
    assert (await socket.execute("x")).reply["ename"] == "NameError"
    assert (await socket.execute("import os; print(os.path.exists('kept'))")).stream() == "True\n"


async def test_files_and_executions_of_one_session_go_in_turn(api: Api) -> None:
    session = await create(api)
    path = f"/v1/sessions/{session['id']}"
    written = await api.request("POST", f"{path}/fs/write", {"path": "d/a.txt", "text": "hello"})
    assert written.code == 200, written.body
    found = await api.get(f"{path}/fs/read?path=d/a.txt")
    assert base64.b64decode(found["content_base64"]) == b"hello"
    first = asyncio.create_task(run(api, session, cmd=f"touch begun; {WAITS}; echo first"))
    await begun(api, session)
    second = asyncio.create_task(run(api, session, cmd="echo second"))
    assert (await run(api, session, code="print('a cell does not wait')"))["exit_code"] == 0
    await go(api, session)
    assert [(await first)["output"], (await second)["output"]] == ["first\n", "second\n"]


async def test_a_workspace_is_attached_to_a_warm_sandbox_and_outlives_its_session(api: Api) -> None:
    for said in ("first\n", "second\n"):
        await eventually(api.pool, lambda pool: pool["warm"])
        session = await create(api, workspace_id="thesis")
        assert session["acquire_source"] == "pool"
        before = (await run(api, session, cmd="cat notes 2>/dev/null"))["output"]
        await run(api, session, cmd=f"printf {said!r} >> notes")
        assert before == ("" if said == "first\n" else "first\n")
        assert (await api.request("DELETE", f"/v1/sessions/{session['id']}")).code == 200
    assert (await api.request("DELETE", "/v1/workspaces/thesis")).code == 200


async def test_a_kernel_that_dies_is_started_again_and_says_so(api: Api) -> None:
    session = await create(api)
    await run(api, session, code="x = 1")
    answer = await run(api, session, code="import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert answer["exit_code"] != 0
    assert "SIGKILL" in str(answer)
    again = await eventually(lambda: run(api, session, code="print('again')"), lambda answer: answer["exit_code"] == 0)
    assert again["output"] == "again\n"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with low limits."""
    config = "session_ttl_seconds: 1\npool: {enabled: false}\nlimits: {max_sandboxes: 2}\n"
    with GatewayProcess(tmp_path_factory.mktemp("strict"), config, engine="local") as running:
        yield running


@pytest.fixture
async def limited(strict: GatewayProcess) -> AsyncIterator[Api]:
    async with Api(strict.url, strict.token) as client:
        yield client
        for session in await client.get("/v1/sessions"):
            await client.request("DELETE", f"/v1/sessions/{session['id']}")


async def test_idle_sessions_end_with_their_reason(limited: Api) -> None:
    info = await ended(limited, await create(limited))
    assert (info["status"], info["reason"]) == ("expired", "idle for 1 s")


async def test_a_limit_holds_however_many_ask_at_once(limited: Api) -> None:
    answers = await asyncio.gather(*(limited.request("POST", "/v1/sessions", {"ttl_seconds": 60}) for _ in range(6)))
    assert sorted(answer.code for answer in answers) == [201] * 2 + [503] * 4


async def test_after_kill_9_sessions_go_on_under_their_ids(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path, "pool: {images: {python: 1}}\n", engine="local") as running:
        async with Api(running.url, running.token) as api:
            session = await create(api, workspace_id="kept", labels={"course": "physics"})
            await run(api, session, code="x = 42")
            await run(api, session, cmd="y=7; cd /tmp; echo mine > /workspace/file")
        api = await restarted(running)
        async with api:
            found = await api.get(f"/v1/sessions/{session['id']}")
            assert (found["status"], found["labels"]) == ("running", {"course": "physics"})
            assert (await run(api, session, code="print(x)"))["output"] == "42\n"
            assert (await run(api, session, cmd="echo $y; pwd; cat /workspace/file"))["output"] == "7\n/tmp\nmine\n"
            assert (await api.request("DELETE", f"/v1/sessions/{session['id']}")).code == 200
            assert (await api.request("DELETE", "/v1/workspaces/kept")).code == 200
