"""However a kernel, a shell or a sandbox ends: everybody is told why, in words, and nothing that runs hangs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.kernelspecs.test_metadata import PYTHON
from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api, KernelSocket, execute_content
from tests.support.v1_requests import begun, create, ended, run
from tests.support.waiting import eventually
from tests.telemetry.test_events import stream

pytestmark = pytest.mark.docker

COUNT = 6
KILLED = "its sandbox was ended over the engine, from outside of the gateway (SIGKILL)"
BUSY = "open('begun', 'w').close()\nimport time\nwhile True: time.sleep(0.1)"
STUBBORN = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nopen('begun', 'w').close()\n"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with kernelspecs that differ in what becomes of a kernel that does not answer, or ends."""
    folder = tmp_path_factory.mktemp("reasons")
    for name, settings in {
        "once": {"auto_restart": False},
        "strict": {"interrupt_seconds": 1},
        "watched": {"heartbeat_seconds": 1},
    }.items():
        (folder / "specs" / name).mkdir(parents=True)
        metadata = {"sandkasten": {"image": "python", "pool": False, **settings}}
        (folder / "specs" / name / "kernel.json").write_text(json.dumps({**PYTHON, "metadata": metadata}))
    bash = json.loads((Path(__file__).parents[2] / "kernelspecs" / "bash" / "kernel.json").read_text())
    bash["metadata"]["sandkasten"]["interrupt_seconds"] = 1
    (folder / "specs" / "bash").mkdir()
    (folder / "specs" / "bash" / "kernel.json").write_text(json.dumps(bash))
    with GatewayProcess(folder, "kernelspec_dirs: [specs]\npool: {images: {python: 1}}\n") as running:
        yield running
    assert "Traceback" not in running.log.read_text()


@pytest.fixture
async def api(gateway: GatewayProcess) -> AsyncIterator[Api]:
    async with Api(gateway.url, gateway.token) as client:
        yield client
        for kernel in await client.kernels():
            await client.request("DELETE", f"/api/kernels/{kernel['id']}")
            await client.request("DELETE", f"/v1/sessions/{kernel['id']}")


async def events_of(api: Api, session: str) -> list[tuple[str, str]]:
    events = (await api.get("/v1/events?since=0&limit=1000"))["events"]
    return [(event["kind"], event["reason"]) for event in events if event["session_id"] == session]


async def said(socket: KernelSocket, words: str) -> None:
    """Return when something with these words stands on stderr."""
    while words not in (await socket.until("stream", name="stderr")).content["text"]:
        pass


async def test_docker_kill_is_told_everywhere_and_ends_what_runs(
    api: Api, gateway: GatewayProcess, engine: docker.DockerClient
) -> None:
    session = await create(api)
    path = f"/v1/sessions/{session['id']}"
    socket = await api.connect(session["id"])
    cell = asyncio.create_task(run(api, session, code=BUSY))
    streamed = asyncio.create_task(api.request("POST", f"{path}/exec/stream", {"cmd": "echo first; sleep 100"}))
    await begun(api, session, "begun")
    engine.api.kill(session["container_id"])
    await said(socket, f"The kernel is gone: {KILLED}.\n")
    await socket.until("status", execution_state="dead")
    answer = await cell
    assert (answer["exit_code"], answer["timed_out"]) == (-1, False)
    assert answer["error"] == f"The kernel is gone: {KILLED}."
    done = json.loads((await streamed).body.decode().rpartition("data: ")[2])
    assert (done["exit_code"], done["error"]) == (-1, f"The shell is gone: {KILLED}.")
    info = await api.get(path)
    assert (info["status"], info["reason"], info["execution_state"]) == ("crashed", KILLED, "dead")
    for call in (run(api, session, 410, cmd="true"), run(api, session, 410, code="1")):
        assert KILLED in (await call)["message"]
    restart = await api.request("POST", f"/api/kernels/{session['id']}/restart")
    assert (restart.code, KILLED in json.loads(restart.body)["message"]) == (503, True)
    assert ("died", KILLED) in await events_of(api, session["id"])
    assert f"kernel {session['id']} is dead: {KILLED}" in gateway.log.read_text()


async def test_nobody_inside_can_kill_the_first_process_but_ask_it_to_end(api: Api) -> None:
    session = await create(api)
    assert (await run(api, session, cmd="kill -9 1; kill -STOP 1; sleep 1; echo here"))["stdout"] == "here\n"
    answer = await run(api, session, cmd="kill -TERM 1; sleep 100")
    assert answer["error"] == "The shell is gone: the first process of its sandbox ended with exit code 0."
    assert (await ended(api, session))["status"] == "crashed"


async def test_a_kernel_killed_from_the_shell_is_told_and_comes_back(api: Api) -> None:
    session = await create(api)
    pid = (await run(api, session, code="import os; print(os.getpid())"))["stdout"].strip()
    cell = asyncio.create_task(run(api, session, code=BUSY))
    await begun(api, session, "begun")
    await run(api, session, cmd=f"kill -9 {pid}")
    answer = await cell
    assert answer["exit_code"] == -1
    assert answer["error"] == "The kernel died: killed by signal SIGKILL. It is started again; its variables are lost."
    assert (await run(api, session, code="print('back')"))["stdout"] == "back\n"
    info = await api.get(f"/v1/sessions/{session['id']}")
    assert (info["status"], info["reason"]) == ("running", "killed by signal SIGKILL")
    assert await events_of(api, session["id"]) == [
        ("created", ""),
        ("claimed", ""),
        ("died", "killed by signal SIGKILL"),
        ("restarted", "by itself, after it had died: killed by signal SIGKILL"),
    ]


async def test_a_shell_that_is_killed_is_told_and_comes_back(api: Api) -> None:
    session = await create(api)
    answer = await run(api, session, cmd="A=1; kill -9 $$; sleep 10")
    assert answer["exit_code"] == 137
    assert answer["error"] == (
        "The shell ended, exit code 137 (Killed), and was started again; its variables are lost."
    )
    assert (await run(api, session, cmd="echo ${A-gone} $PWD"))["stdout"] == "gone /workspace\n"


async def test_memory_is_named_with_its_limit_in_the_answer_and_the_record(api: Api) -> None:
    session = await create(api, mem_limit_mb=256)
    answer = await run(api, session, code="x = bytearray(1 << 30)")
    assert "killed, out of memory, limit 256 MiB" in answer["error"]
    assert (await api.get(f"/v1/sessions/{session['id']}"))["reason"] == "killed, out of memory, limit 256 MiB"


async def test_without_auto_restart_a_dead_kernel_stays_so_until_it_is_restarted(api: Api) -> None:
    kernel = await api.create(name="once")
    socket = await api.connect(kernel)
    result = await socket.execute("import os; os._exit(3)")
    words = "The kernel is gone: it ended with exit code 3. Restart it to go on."
    assert result.reply["evalue"] == words
    await socket.until("status", execution_state="dead")
    assert (await socket.execute("1")).reply["evalue"] == words
    answer = await run(api, {"id": kernel}, 409, code="1")
    assert (answer["error_code"], answer["message"]) == ("KERNEL_DEAD", words)
    interrupted = await api.request("POST", f"/api/kernels/{kernel}/interrupt")
    assert (interrupted.code, json.loads(interrupted.body)["error_code"]) == (409, "KERNEL_DEAD")
    info = await api.get(f"/v1/sessions/{kernel}")
    assert (info["status"], info["execution_state"]) == ("running", "dead")
    assert info["reason"] == "it ended with exit code 3"
    assert (await run(api, {"id": kernel}, cmd="echo the shell lives"))["stdout"] == "the shell lives\n"
    assert (await api.request("POST", f"/api/kernels/{kernel}/restart")).code == 200
    assert (await socket.execute("1")).reply["status"] == "ok"
    kinds = [kind for kind, _ in await events_of(api, kernel)]
    assert kinds == ["created", "claimed", "attached", "died", "restarted"]


async def test_an_interrupt_that_is_not_heeded_goes_on_in_steps_that_are_told(api: Api) -> None:
    kernel = await api.create(name="strict")
    socket = await api.connect(kernel)
    await socket.send("execute_request", execute_content(f"{STUBBORN}while True: time.sleep(0.1)"))
    await begun(api, {"id": kernel}, "begun")
    assert (await api.request("POST", f"/api/kernels/{kernel}/interrupt")).code == 204
    await said(
        socket, "The interrupt has not ended this within 1 s: SIGINT is sent. In 1 s the kernel is ended by SIGTERM"
    )
    await said(socket, "SIGINT has not ended this within 1 s: the kernel gets SIGTERM.")
    reason = "it ignored the interrupt, and got SIGTERM"
    await said(socket, f"The kernel was restarted: {reason}. Its variables are lost.")
    assert (await socket.until("execute_reply")).content["ename"] == "KernelRestarted"
    assert (await socket.execute("print('back')")).stream() == "back\n"
    assert (await events_of(api, kernel))[-2:] == [("died", reason), ("restarted", reason)]


async def test_a_cell_that_heeds_an_interrupt_late_is_left_alone(api: Api) -> None:
    kernel = await api.create(name="strict")
    socket = await api.connect(kernel)
    code = """
import time
try:
    open('begun', 'w').close()
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.2)
"""
    asked = await socket.send("execute_request", execute_content(code))
    await begun(api, {"id": kernel}, "begun")
    assert (await api.request("POST", f"/api/kernels/{kernel}/interrupt")).code == 204
    assert (await socket.result(asked)).reply["status"] == "ok"
    result = await socket.execute("time.sleep(2.5)")  # the next cell is not what was interrupted
    assert (result.reply["status"], result.stream("stderr")) == ("ok", "")
    assert "died" not in [kind for kind, _ in await events_of(api, kernel)]


async def test_a_cell_that_the_kernel_does_not_answer_ends_all_the_same(api: Api) -> None:
    """ipykernel loses a reply when an interrupt comes while it is sent."""
    session = await create(api)
    code = """
send = get_ipython().kernel.session.send
def lossy(stream, kind, *args, **kwargs):
    if kind == "execute_reply":
        get_ipython().kernel.session.send = send
        return None
    return send(stream, kind, *args, **kwargs)
get_ipython().kernel.session.send = lossy
print("said")
"""
    answer = await run(api, session, code=code)
    assert (answer["exit_code"], answer["stdout"], answer["timed_out"]) == (-1, "said\n", False)
    assert answer["error"] == "The kernel was done with this, but did not answer."
    assert (await run(api, session, code="print('next')"))["stdout"] == "next\n"


async def test_a_bash_kernel_that_ignores_sigint_is_stopped_too(api: Api) -> None:
    session = await create(api, image="base")
    command = asyncio.create_task(run(api, session, cmd="trap '' INT; touch begun; sleep 300"))
    await begun(api, session, "begun")
    await api.request("POST", f"/api/kernels/{session['id']}/interrupt")
    assert "SIGINT is sent" in (await command)["stderr"]
    assert (await run(api, session, cmd="echo back"))["stdout"] == "back\n"


@pytest.mark.parametrize("how", ["stopped", "lock"])
async def test_a_kernel_that_cannot_answer_is_unresponsive_until_it_does(
    api: Api, gateway: GatewayProcess, how: str
) -> None:
    session = {"id": await api.create(name="watched")}
    pid = (await run(api, session, code="import os; print(os.getpid())"))["stdout"].strip()
    code = BUSY if how == "stopped" else "import ctypes\nctypes.PyDLL(None).sleep(5)"
    async with stream(gateway, "/v1/events?limit=0") as told:
        cell = asyncio.create_task(run(api, session, code=code))
        if how == "stopped":
            await begun(api, session, "begun")
            await run(api, session, cmd=f"kill -STOP {pid}")
        event = await anext(event async for event in told if event["kind"] == "unresponsive")
        assert event["session_id"] == session["id"]
        assert event["reason"] == "no answer for 1 s: its process is stopped, or a cell blocks all its threads"
        if how == "stopped":
            assert (await api.get(f"/v1/sessions/{session['id']}"))["unresponsive"] is True
            assert (await api.get(f"/api/kernels/{session['id']}"))["unresponsive"] is True
            await run(api, session, cmd=f"kill -CONT {pid}")
    await eventually(lambda: api.get(f"/v1/sessions/{session['id']}"), lambda info: not info["unresponsive"])
    assert (await api.request("POST", f"/v1/sessions/{session['id']}/restart")).code == 200
    await cell
    assert f"kernel {session['id']} answers again" in gateway.log.read_text()


async def test_a_stopped_kernel_is_ended_by_a_restart(api: Api) -> None:
    session = {"id": await api.create(name="strict")}
    await run(api, session, cmd="true")
    pid = (await run(api, session, code="import os; print(os.getpid())"))["stdout"].strip()
    cell = asyncio.create_task(run(api, session, code=BUSY))
    await begun(api, session, "begun")
    await run(api, session, cmd=f"kill -STOP {pid}")
    assert (await api.request("POST", f"/api/kernels/{session['id']}/interrupt")).code == 204
    answer = await cell
    assert "got SIGTERM" in answer["error"]
    assert (await run(api, session, code="print('back')"))["stdout"] == "back\n"


async def test_sandboxes_that_are_killed_at_once_are_all_known(
    api: Api, gateway: GatewayProcess, engine: docker.DockerClient
) -> None:
    sessions: list[dict[str, Any]] = await asyncio.gather(*(create(api, image="base") for _ in range(COUNT)))
    running = [asyncio.create_task(run(api, session, cmd="sleep 100")) for session in sessions]
    for session in sessions:
        await api.get(f"/v1/sessions/{session['id']}/stats")
    killing = (asyncio.to_thread(engine.api.kill, session["container_id"]) for session in sessions)
    await asyncio.gather(*killing)
    for answer in await asyncio.gather(*running, return_exceptions=True):
        assert "error" in answer if isinstance(answer, dict) else "410" in str(answer) or "503" in str(answer)
    for session in sessions:
        info = await ended(api, session)
        assert (info["status"], bool(info["reason"])) == ("crashed", True)
    assert (await api.pool("bash"))["claimed"] == 0
