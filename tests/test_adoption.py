"""The gateway is killed or stopped, and its sandboxes live on: the next process goes on with them."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from .gateway import Gateway
from .kernel_client import Api, KernelSocket, execute_content

pytestmark = pytest.mark.docker

CONFIG = "pool: {images: {python: 1}}\nenv_names: [SECRET]\n"
KEEP = f"{CONFIG}on_stop: keep\n"
SECRET = "correct-horse-battery"
COUNT = "import time\nfor number in range(50):\n    print(number)\n    time.sleep(0.1)\n"


async def v1(api: Api, method: str, path: str, status: int = 200, **body: Any) -> Any:
    """Return what ``/v1`` answers."""
    response = await api.request(method, f"/v1{path}", body if method == "POST" else None)
    assert response.code == status, response.body
    return json.loads(response.body)


async def output(api: Api, session: str, **job: str) -> str:
    """Return what code or a command says."""
    return str((await v1(api, "POST", f"/sessions/{session}/exec", **job))["output"])


async def warm(api: Api, count: int = 1) -> None:
    while (await api.pool())["warm"] < count:
        await asyncio.sleep(0.1)


async def restarted(gateway: Gateway, number: signal.Signals = signal.SIGKILL, away: float = 0.0) -> Api:
    """Return the API of the gateway's next process; nobody answers for ``away`` seconds."""
    await asyncio.to_thread(gateway.stop, number)
    await asyncio.sleep(away)
    await asyncio.to_thread(gateway.start_again)
    return Api(gateway.url, gateway.token)


async def test_after_kill_9_sessions_go_on_with_all_that_is_in_them(tmp_path: Path) -> None:
    with Gateway(tmp_path, CONFIG) as running:
        async with Api(running.url, running.token) as api:
            idle = await api.create(env={"SECRET": SECRET})
            await (await api.connect(idle)).execute("x = 41")
            wanted = {"workspace_id": "thesis", "name": "n", "labels": {"a": "b"}, "ttl_seconds": 500}
            session = await v1(api, "POST", "/sessions", 201, **wanted)
            await output(api, session["id"], cmd="cd /tmp; y=9; echo kept > /workspace/file")
            await output(api, session["id"], code="import os; os.chdir('/'); z = 5")
            bash, busy = await api.create(name="bash"), await api.create()
            shell = await api.connect(bash, query="?session_id=bash")
            await shell.execute("cd /etc; w=1")
            cell = await begun(await api.connect(busy, query="?session_id=busy"), COUNT)
            command = await begun(shell, "for i in 0 1 2; do echo $i; sleep 1; done")
            await warm(api)
            kernels, before = await api.kernels(), set(running.containers())
            being_made = asyncio.ensure_future(api.create())
            async with asyncio.timeout(60):
                while set(running.containers()) == before and (await api.pool())["warm"]:
                    await asyncio.sleep(0.01)
            began = time.monotonic()
            again = await restarted(running, away=1.5)
            assert time.monotonic() - began < 30  # JupyterLab comes back for 33 s
            await asyncio.gather(being_made, return_exceptions=True)
        async with again as api:
            after = {kernel["id"]: kernel for kernel in await api.kernels()}
            assert {kernel["id"] for kernel in kernels} <= after.keys()

            socket = await api.connect(idle)
            assert (await socket.execute("import os; print(x, os.environ['SECRET'])")).stream() == f"41 {SECRET}\n"
            assert (await api.request("POST", f"/api/kernels/{idle}/restart")).code == 200
            socket = await api.connect(idle)
            assert (await socket.execute("import os; print(os.environ['SECRET'])")).stream() == f"{SECRET}\n"

            now = await v1(api, "GET", f"/sessions/{session['id']}")
            same = {"workspace_id", "name", "labels", "ttl_seconds", "created_at", "container_id", "acquire_source"}
            assert {name: now[name] for name in same} == {name: session[name] for name in same}
            assert (now["status"], now["cwd"]) == ("running", "/tmp")
            assert await output(api, session["id"], cmd="echo $y $PWD; cat /workspace/file") == "9 /tmp\nkept\n"
            assert await output(api, session["id"], code="print(z, os.getcwd())") == "5 /\n"
            (workspace,) = (await v1(api, "GET", "/workspaces"))["workspaces"]
            assert workspace["session_ids"] == [session["id"]]
            assert (await v1(api, "DELETE", "/workspaces/thesis", 409))["error_code"] == "WORKSPACE_IN_USE"

            counted = await (await api.connect(busy, query="?session_id=busy")).result(cell)
            numbers = [int(word) for word in counted.stream().split()]
            assert numbers == list(range(numbers[0], 50))
            assert [message.msg_type for message in counted.messages[-2:]] == ["status", "execute_reply"]
            shell = await api.connect(bash, query="?session_id=bash")
            told = await shell.result(command)
            assert (told.stream(), told.reply["status"]) == ("1\n2\n", "ok")
            assert (await shell.execute("echo $w $PWD")).stream() == "1 /etc\n"
    running.assert_nothing_left()
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in running.data_dir.glob("sessions.sqlite*"))
    assert "Traceback" not in running.log.read_text()


async def begun(socket: KernelSocket, code: str) -> str:
    """Return the id of an execution that has printed its first line."""
    cell = await socket.send("execute_request", execute_content(code))
    await socket.until("stream")
    return cell
