"""Code in a sandbox that attacks the gateway and its neighbours gains nothing."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import psutil
import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api, Message, execute_content
from tests.support.misbehaviour import CELLS, COMMANDS, neighbour_is_fine
from tests.support.waiting import eventually

pytestmark = pytest.mark.docker


async def test_sockets_replaced_by_symlinks_gain_nothing(api: Api, gateway: GatewayProcess) -> None:
    victim = await api.connect(await api.create())
    kernel = await api.create()
    attacker = await api.connect(kernel)
    code = """
import os, glob, signal, time
for path in glob.glob('/run/sandkasten/*'):
    os.rename(path, path + '-away')
    os.symlink('/proc/1/root/run/sandkasten/guest-control', path)
for number in range(1, 10):
    for port in range(1, 6):
        target = f'/run/sandkasten/k{number}-{port}'
        if not os.path.lexists(target): os.symlink('/var/run/docker.sock', target)
print(os.listdir('/run/sandkasten'))
"""
    assert "guest-control" in (await attacker.execute(code)).stream()
    await attacker.send("execute_request", execute_content("os.kill(os.getpid(), 9)"))
    response = await api.request("POST", f"/api/kernels/{kernel}/restart")
    assert response.code in (200, 503)
    assert (await victim.execute("print('mine')")).stream() == "mine\n"
    seen: list[Message] = []
    while True:
        try:
            message = await attacker.receive(timeout=1)
        except TimeoutError:
            break
        assert message
        seen.append(message)
    assert not [m for m in seen if m.msg_type == "stream" and "mine" in str(m.content)]
    assert (await api.request("DELETE", f"/api/kernels/{kernel}")).code == 204
    await neighbour_is_fine(api)


async def test_the_directory_of_sockets_is_small_and_bounded(api: Api) -> None:
    socket = await api.connect(await api.create())
    code = """
import os
def attempt(action):
    try: action()
    except OSError as error: return error.strerror
    return 'done'
def fill():
    with open('/run/sandkasten/big', 'wb') as file:
        for _ in range(300): file.write(bytes(1 << 20)); file.flush()
def litter():
    for number in range(1000): open(f'/run/sandkasten/n{number}', 'w').close()
def gateway(): open('/run/gateway/x', 'w')
print(attempt(fill), '|', attempt(litter), '|', attempt(gateway), '|', os.listdir('/run/gateway'))
"""
    result = await socket.execute(code)
    full = "No space left on device"
    assert result.stream() == f"{full} | {full} | Read-only file system | []\n"
    await neighbour_is_fine(api)


async def test_the_guest_cannot_be_read_commanded_or_killed(api: Api) -> None:
    socket = await api.connect(await api.create())
    code = """
import os, json, zmq
def attempt(action):
    try: action()
    except OSError as error: return error.strerror
    return 'done'
for name in ('mem', 'environ'): print(attempt(lambda: open(f'/proc/1/{name}', 'rb').read()))
for name in ('fd', 'root'): print(attempt(lambda: os.listdir(f'/proc/1/{name}')))
print(attempt(lambda: open('/proc/1/oom_score_adj', 'w').write('1000')))
os.kill(1, 9); os.kill(1, 15) if False else None
forged = zmq.Context().socket(zmq.DEALER); forged.connect('ipc:///run/sandkasten/guest-control')
header = json.dumps({'msg_type': 'kernel_signal_request', 'msg_id': 'x'}).encode()
for signature in (b'', b'0' * 64):
    forged.send_multipart([b'<IDS|MSG>', signature, header, b'{}', b'{}', b'{"signum": 9}'])
forged.send_multipart([b'noise']); forged.send_multipart([b'<IDS|MSG>'] * 200)
print(forged.poll(500))
"""
    denied = "Permission denied\n"
    assert (await socket.execute(code)).stream() == denied * 5 + "0\n"
    await neighbour_is_fine(api)


HANGS_UP = """
import json, os, sys, time
if 'sandkasten_ipykernel' in ' '.join(sys.orig_argv):
    import zmq
    connection = json.load(open(sys.orig_argv[-1]))
    context = zmq.Context()
    kinds = {'shell': zmq.ROUTER, 'control': zmq.ROUTER, 'stdin': zmq.ROUTER, 'hb': zmq.REP, 'iopub': zmq.PUB}
    sockets = {name: context.socket(kind) for name, kind in kinds.items()}
    for name, s in sockets.items(): s.bind(f"ipc://{connection['ip']}-{connection[name + '_port']}")
    sockets['shell'].poll(5000)
    sockets['shell'].close(); time.sleep(30)
"""


async def test_a_kernel_that_shakes_hands_and_hangs_up_ends_in_words_not_in_waiting(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path, "env_names: [PYTHONPATH]\npool: {enabled: false}\n") as running:
        async with Api(running.url, running.token) as api:
            kernel = await api.create(env={"PYTHONPATH": "/workspace/evil"})
            socket = await api.connect(kernel)
            await socket.execute(f"import os; os.mkdir('evil'); open('evil/sitecustomize.py', 'w').write({HANGS_UP!r})")
            response = await api.request("POST", f"/api/kernels/{kernel}/restart")
            assert response.code == 503
            assert "could not be restarted" in json.loads(response.body)["message"]
            assert (await api.get(f"/api/kernels/{kernel}"))["execution_state"] == "dead"
            assert (await api.request("DELETE", f"/api/kernels/{kernel}")).code == 204


@pytest.mark.parametrize(
    ("kernelspec", "code"),
    [
        *(pytest.param("python3", code, id=f"cell: {name}") for name, code in CELLS.items()),
        *(pytest.param("bash", code, id=f"command: {name}") for name, code in COMMANDS.items()),
    ],
)
async def test_the_neighbours_and_the_gateway_stay_responsive(api: Api, kernelspec: str, code: str) -> None:
    neighbour = await api.connect(await api.create())
    kernel = await api.create(name=kernelspec)
    attacker = await api.connect(kernel)
    await attacker.send("execute_request", execute_content(code))
    slowest = 0.0
    for _ in range(20):
        began = time.monotonic()
        assert (await neighbour.execute("1")).reply["status"] == "ok"
        assert (await api.request("GET", "/api/status")).code == 200
        slowest = max(slowest, time.monotonic() - began)
        await asyncio.sleep(0.05)
    print(f"slowest answer of the neighbour: {1000 * slowest:.0f} ms")
    assert (await api.request("DELETE", f"/api/kernels/{kernel}")).code == 204


async def test_no_descriptor_is_left_after_many_kernels(api: Api, gateway: GatewayProcess) -> None:
    process = psutil.Process(gateway.process.pid)

    async def settled() -> int:
        await eventually(api.pool, lambda pool: pool["warm"] >= 2)
        return process.num_fds()

    await settled()
    for _ in range(2):
        kernels = await asyncio.gather(*(api.create() for _ in range(3)))
        for kernel in kernels:
            socket = await api.connect(kernel)
            await socket.execute("1")
            socket.close()
        await asyncio.gather(*(api.request("DELETE", f"/api/kernels/{kernel}") for kernel in kernels))
    await eventually(gateway.containers, lambda containers: len(containers) <= 2)
    counts = [await settled() for _ in range(2)]
    assert max(counts) <= 2 * 14 + 40
