"""The gateway is killed or stopped, and its sandboxes live on: the next process goes on with them."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import docker
import pytest

from tests.support.engine_cable import EngineCable, Mode
from tests.support.gateway_process import GatewayProcess
from tests.support.gateway_restart import back, begun, output, restarted, v1, warm
from tests.support.kernel_client import Api
from tests.support.lab import LabServer, LabSocket
from tests.support.waiting import eventually

pytestmark = pytest.mark.docker

CONFIG = "pool: {images: {python: 1}}\nenv_names: [SECRET]\n"
KEEP = f"{CONFIG}on_stop: keep\n"
SECRET = "correct-horse-battery"
WAITING_CELL = """
import os, time
print("begun")
while not os.path.exists("/tmp/go"):
    time.sleep(0.01)
for number in range(1000):
    print(number, flush=number % 100 == 0)
open("/tmp/done", "w").close()
"""
WAITING_COMMAND = "echo begun; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo 1; echo 2; touch /tmp/done"
DIES = """
import os, time
open("/tmp/pid", "w").write(str(os.getpid()))
print("begun")
while not os.path.exists("/tmp/go"):
    time.sleep(0.01)
os._exit(3)
"""
COUNT = "import time\nfor number in range(50):\n    print(number)\n    time.sleep(0.1)\n"


async def test_after_kill_9_sessions_go_on_with_all_that_is_in_them(
    tmp_path: Path, engine: docker.DockerClient
) -> None:
    with GatewayProcess(tmp_path, CONFIG) as running:
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
            cell = await begun(await api.connect(busy, query="?session_id=busy"), WAITING_CELL)
            command = await begun(shell, WAITING_COMMAND)
            sandboxes = [(await v1(api, "GET", f"/sessions/{one}"))["container_id"] for one in (busy, bash)]
            document = {"path": "a.ipynb", "name": "a", "type": "notebook", "kernel": {"id": idle}}
            notebook = json.loads((await api.request("POST", "/api/sessions", document)).body)
            await warm(api)
            kernels, before = await api.kernels(), set(running.containers())
            being_made = asyncio.ensure_future(api.create())
            await eventually(api.pool, lambda pool: not pool["warm"] or set(running.containers()) != before)
            await asyncio.to_thread(running.kill)
            await asyncio.gather(being_made, return_exceptions=True)
        for sandbox in sandboxes:
            ended = "touch /tmp/go; while [ ! -e /tmp/done ]; do sleep 0.1; done"
            assert engine.containers.get(sandbox).exec_run(["sh", "-c", ended]).exit_code == 0
        again = await restarted(running)
        async with again as api:
            after = {kernel["id"]: kernel for kernel in await api.kernels()}
            assert {kernel["id"] for kernel in kernels} <= after.keys()
            events = (await v1(api, "GET", "/events?since=0&limit=1000"))["events"]
            adopted = {event["session_id"] for event in events if event["kind"] == "adopted"}
            assert {kernel["id"] for kernel in kernels} <= adopted
            (found,) = await api.get("/api/sessions")
            names = ("id", "path", "name", "type")
            assert [found[name] for name in names] == [notebook[name] for name in names]
            assert found["kernel"]["id"] == idle

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
            assert counted.stream() == "".join(f"{number}\n" for number in range(1000))
            assert [message.msg_type for message in counted.messages[-2:]] == ["status", "execute_reply"]
            shell = await api.connect(bash, query="?session_id=bash")
            told = await shell.result(command)
            assert (told.stream(), told.reply["status"]) == ("1\n2\n", "ok")
            assert (await shell.execute("echo $w $PWD")).stream() == "1 /etc\n"
            await v1(api, "DELETE", f"/sessions/{session['id']}")
            await v1(api, "DELETE", "/workspaces/thesis")
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in running.data_dir.glob("sessions.sqlite*"))
    assert "Traceback" not in running.log.read_text()


async def test_what_ended_while_the_gateway_was_away_is_told_with_its_reason(
    tmp_path: Path, engine: docker.DockerClient
) -> None:
    other_folder, folder = tmp_path / "other", tmp_path / "killed"
    other_folder.mkdir()
    folder.mkdir()
    with (
        GatewayProcess(other_folder, "pool: {images: {base: 1}}\n") as other,
        GatewayProcess(folder, CONFIG) as running,
    ):
        async with Api(other.url, other.token) as api:
            await warm(api, "bash")
        async with Api(running.url, running.token) as api:
            killed, removed = [await v1(api, "POST", "/sessions", 201, image="base") for _ in range(2)]
            await warm(api)
        others = set(other.containers())
        await asyncio.to_thread(running.stop, signal.SIGKILL)
        engine.api.kill(killed["container_id"])
        engine.api.remove_container(removed["container_id"], force=True)
        labels = {"sandkasten.instance": running.instance, "sandkasten.sandbox": "nobody"}
        nobodys = engine.containers.create("sandbox-runtime:base", labels=labels)
        async with await restarted(running) as api:
            for session, words in (
                (killed, "ended while the gateway was away (killed"),
                (removed, "was removed while"),
            ):
                info = await v1(api, "GET", f"/sessions/{session['id']}")
                assert info["status"] == "crashed"
                assert words in info["reason"]
                assert words in (await v1(api, "POST", f"/sessions/{session['id']}/exec", 410, cmd="true"))["message"]
            assert nobodys.id not in running.containers()
            assert set(other.containers()) == others


async def test_a_kernel_that_dies_while_the_gateway_is_away_is_started_again_and_its_client_told(
    tmp_path: Path, engine: docker.DockerClient
) -> None:
    with GatewayProcess(tmp_path, "pool: {enabled: false}\n") as running:
        async with Api(running.url, running.token) as api:
            kernel = await api.create(env={"KERNEL_A": "1"})
            socket = await api.connect(kernel, query="?session_id=a")
            await begun(socket, DIES)
            sandbox = engine.containers.get((await v1(api, "GET", f"/sessions/{kernel}"))["container_id"])
            await asyncio.to_thread(running.kill)
            dies = "pid=$(cat /tmp/pid); touch /tmp/go; while kill -0 $pid 2>/dev/null; do sleep 0.1; done"
            assert sandbox.exec_run(["sh", "-c", dies]).exit_code == 0
            async with await back(running) as api:
                socket = await api.connect(kernel, query="?session_id=a")
                assert "exit code 3" in (await socket.until("stream", name="stderr")).content["text"]
                assert (await socket.execute("import os; print(os.environ['KERNEL_A'])")).stream() == "1\n"


async def test_a_workspace_is_in_use_before_its_session_is_taken_over(
    tmp_path: Path, engine: docker.DockerClient
) -> None:
    with GatewayProcess(tmp_path, "pool: {enabled: false}\n") as running:
        async with Api(running.url, running.token) as api:
            session = await v1(api, "POST", "/sessions", 201, workspace_id="kept")
            await output(api, session["id"], cmd="echo mine > file")
        await asyncio.to_thread(running.kill)
        engine.api.kill(session["container_id"], "SIGSTOP")  # so that its guest is late
        await asyncio.to_thread(running.start_again)
        async with Api(running.url, running.token) as api:
            refused = await v1(api, "DELETE", "/workspaces/kept", 409)
            assert refused["error_code"] == "WORKSPACE_IN_USE"
            engine.api.kill(session["container_id"], "SIGCONT")
            await eventually(
                lambda: api.get(f"/v1/sessions/{session['id']}"),
                lambda info: info["execution_state"] not in ("starting", "dead"),
            )
            assert await output(api, session["id"], cmd="cat file") == "mine\n"
            await v1(api, "DELETE", f"/sessions/{session['id']}")
            await v1(api, "DELETE", "/workspaces/kept")


async def test_a_gateway_that_keeps_hands_over_and_stop_all_ends_everything(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path, KEEP)
    gateway.start()
    try:
        async with Api(gateway.url, gateway.token) as api:
            session = (await v1(api, "POST", "/sessions", 201, workspace_id="stays"))["id"]
            await output(api, session, cmd="v=7; echo kept > /workspace/file")
            socket = await api.connect(await api.create(), query="?session_id=a")
            await warm(api)
            before = set(gateway.containers())
            assert "on_stop: keep" in gateway.log.read_text()
            cell = await begun(socket, COUNT)
            again = await restarted(gateway, signal.SIGTERM)
        async with again as api:
            assert set(gateway.containers()) == before
            assert await output(api, session, cmd="echo $v") == "7\n"
            kernel = next(kernel["id"] for kernel in await api.kernels() if kernel["id"] != session)
            assert (await (await api.connect(kernel, query="?session_id=a")).result(cell)).reply["status"] == "ok"
        said = await stopped("--all", gateway)
        assert "the gateway on" in said
        assert "sessions ended with them: 2" in said
        assert await asyncio.to_thread(gateway.stop) == 0
        assert gateway.containers() == list((gateway.data_dir / "run").iterdir()) == []
        assert (gateway.data_dir / "workspaces/stays/data/file").read_text() == "kept\n"
        assert "no gateway runs" in await stopped("--all", gateway)
        async with await restarted(gateway) as api:
            assert await api.kernels() == []
            assert (await v1(api, "GET", f"/sessions/{session}"))["status"] == "destroyed"
            await v1(api, "DELETE", "/workspaces/stays")
            await api.create()
        await asyncio.to_thread(gateway.stop, signal.SIGKILL)
        assert "sessions ended with them: 1" in await stopped("--all", gateway)
        assert gateway.containers() == gateway.volumes() == []
    finally:
        await asyncio.to_thread(gateway.end)
        await stopped("--all", gateway)
    assert "Traceback" not in gateway.log.read_text()


async def stopped(option: str, gateway: GatewayProcess) -> str:
    """Return what ``sandkasten-kernels stop`` says."""
    command = [sys.executable, "-m", "sandkasten_kernels", "stop", option, f"--data-dir={gateway.data_dir}"]
    ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stderr


@pytest.mark.slow
async def test_a_connected_jupyterlab_simply_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    folder.mkdir()
    with GatewayProcess(tmp_path, CONFIG) as running:
        async with LabServer(folder, running.url, running.token) as server, Api(server.url, server.token) as lab:
            wanted = {"path": "a.ipynb", "name": "", "type": "notebook", "kernel": {"name": "python3"}}
            notebook = json.loads((await lab.request("POST", "/api/sessions", wanted)).body)
            page = await LabSocket.open(server.url, server.token, notebook["kernel"]["id"])
            cell = await begun(page, COUNT)
            async with await restarted(running) as api:
                counted = await page.result(cell)
                assert counted.stream().split()[-1] == "49"
                assert (await page.execute("print(number)")).stream() == "49\n"
                assert [session["id"] for session in await lab.get("/api/sessions")] == [notebook["id"]]
                assert [kernel["id"] for kernel in await api.kernels()] == [notebook["kernel"]["id"]]


async def test_a_start_without_the_engine_destroys_nothing(tmp_path: Path) -> None:
    async with EngineCable(tmp_path / "docker.sock") as cable:
        gateway = GatewayProcess(tmp_path, "pool: {enabled: false}\n", env={"DOCKER_HOST": cable.url})
        await asyncio.to_thread(gateway.start)
        try:
            async with Api(gateway.url, gateway.token) as api:
                kernel = await api.create()
                await (await api.connect(kernel)).execute("x = 42")
            await asyncio.to_thread(gateway.stop, signal.SIGKILL)
            await cable.become(Mode.CUT)
            with pytest.raises(AssertionError, match="no Docker engine answers"):
                await asyncio.to_thread(gateway.start)
            await cable.become(Mode.WHOLE)
            async with await restarted(gateway) as api:
                assert (await (await api.connect(kernel)).execute("print(x)")).stream() == "42\n"
        finally:
            await cable.become(Mode.WHOLE)
            await asyncio.to_thread(gateway.end)
