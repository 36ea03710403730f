"""Kernels that end by themselves: told why, started again, never a hang."""

from __future__ import annotations

import json

import pytest

from tests.support.kernel_client import Api

pytestmark = pytest.mark.local


@pytest.mark.docker
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os._exit(3)", "it ended with exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by signal SIGKILL"),
        ("import ctypes; ctypes.string_at(0)", "killed by signal SIGSEGV"),
        ("x = bytearray(1 << 31)", "killed, out of memory, limit 512 MiB"),
    ],
    ids=["exit", "kill", "segfault", "memory"],
)
async def test_the_reason_of_a_death_is_told_and_the_kernel_starts_again(api: Api, code: str, reason: str) -> None:
    kernel = await api.create(env={"KERNEL_KEPT": "yes"})
    socket = await api.connect(kernel)
    await socket.execute("open('kept', 'w').write('file')")
    result = await socket.execute(code)
    assert result.reply["status"] == "error"
    assert reason in result.reply["evalue"]
    assert reason in result.stream("stderr")
    await socket.until("status", execution_state="restarting")
    after = await socket.execute("import os; print(open('kept').read(), os.environ['KERNEL_KEPT'])")
    assert after.stream() == "file yes\n"
    assert (await api.get(f"/api/kernels/{kernel}"))["execution_state"] == "idle"


async def test_a_death_is_told_to_an_idle_client_at_once(api: Api) -> None:
    socket = await api.connect(await api.create())
    await socket.execute("import os, threading; threading.Timer(0.5, os._exit, [7]).start()")
    assert "exit code 7" in (await socket.until("stream", name="stderr")).content["text"]
    await socket.until("status", execution_state="restarting")


@pytest.mark.docker
async def test_a_child_killed_for_memory_leaves_the_kernel_alone(api: Api) -> None:
    socket = await api.connect(await api.create())
    code = "import subprocess, sys; kept = subprocess.run([sys.executable, '-c', 'x = bytearray(1 << 31)']).returncode"
    assert (await socket.execute(code)).reply["status"] == "ok"
    assert (await socket.execute("print(kept)")).stream() == "-9\n"


async def test_a_kernel_that_cannot_stay_alive_is_dead_in_words_and_a_restart_mends_it(api: Api) -> None:
    kernel = await api.create()
    socket = await api.connect(kernel)
    for _ in range(6):
        last = await socket.execute("import os; os._exit(1)")
    assert "too often" in last.reply["evalue"]
    await socket.until("status", execution_state="dead")
    assert (await api.get(f"/api/kernels/{kernel}"))["execution_state"] == "dead"
    await socket.send("kernel_info_request", {})
    await socket.until("status", execution_state="dead")
    assert (await api.request("POST", f"/api/kernels/{kernel}/restart")).code == 200
    assert (await socket.execute("1")).reply["status"] == "ok"


async def test_a_kernel_that_closes_its_own_sockets_is_replaced(api: Api) -> None:
    socket = await api.connect(await api.create())
    code = """
import os
for fd in range(3, 256):
    try:
        if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"): os.close(fd)
    except OSError: pass
"""
    result = await socket.execute(code)
    assert result.reply["status"] == "error"
    assert (await socket.execute("print('back')")).stream() == "back\n"


@pytest.mark.docker
async def test_the_end_of_the_sandbox_is_the_end_of_the_kernel(api: Api, engine: object, gateway: object) -> None:
    from tests.support.gateway_process import GatewayProcess

    assert isinstance(gateway, GatewayProcess)
    kernel = await api.create()
    socket = await api.connect(kernel)
    hostname = (await socket.execute("print(open('/proc/self/mountinfo').read())")).stream()
    sandbox = next(word for word in hostname.split() if "/run/" in word and word.startswith("/") and len(word) > 40)
    import docker

    docker.from_env().api.kill(f"sandkasten-{sandbox.rpartition('/')[2]}")
    await socket.until("status", execution_state="dead")
    response = await api.request("POST", f"/api/kernels/{kernel}/restart")
    assert response.code == 503
    assert "sandbox is gone" in json.loads(response.body)["message"]
    await api.until_claimed(0)
    assert (await api.request("DELETE", f"/api/kernels/{kernel}")).code == 204


async def test_the_guest_rests_when_it_has_started_a_kernel_anew(api: Api) -> None:
    kernel_id = await api.create()
    assert (await api.request("POST", f"/api/kernels/{kernel_id}/restart")).code == 200
    socket = await api.connect(kernel_id)
    sampling = (
        "import time\nstates = [(open('/proc/1/stat').read().split()[2], time.sleep(0.01))[0] for _ in range(50)]"
    )
    await socket.execute(sampling)
    assert (await socket.execute("print(states.count('S') > 25)")).stream() == "True\n"
