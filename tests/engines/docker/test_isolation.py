"""What code finds in a sandbox, from a cell and from the shell, without and with a network; and two that must fail."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandkasten_kernels.engines import SandboxSpec
from sandkasten_kernels.engines.docker.engine import DockerEngine
from sandkasten_kernels.engines.host.firewall import table_name
from tests.support.gateway_process import GatewayProcess
from tests.support.isolation_checks import NO_ROUTE, Listener, broken, host_addresses, outside, probe
from tests.support.kernel_client import Api, KernelSocket
from tests.support.waiting import eventually

pytestmark = pytest.mark.docker
PYTHON = "/opt/sandkasten/bin/python"
NEIGHBOUR_PORT = 7777


@pytest.fixture(scope="module")
def targets() -> Iterator[dict[str, tuple[str, int]]]:
    """Places that a sandbox tries to reach: a server of this host by each of its addresses, and some beyond it."""
    if os.geteuid() or not shutil.which("ip"):
        assert os.environ.get("CI") != "true", "network namespaces need root and iproute2"
        pytest.skip("network namespaces need root and iproute2")
    listener = Listener()
    with outside() as beyond:
        host = {f"the host at {address}": (address, listener.port) for address in host_addresses()}
        yield {**beyond, **host, "the host's side of the bridge": ("gateway", listener.port)}
        assert listener.connections == 0
    listener.close()


@pytest.fixture(scope="module")
def with_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway whose sandboxes have a network; it listens on every address, as far as its sandboxes could tell."""
    config = "defaults: {network_mode: bridge}\npool: {images: {python: 1}}\n"
    with GatewayProcess(tmp_path_factory.mktemp("bridge"), config, env={"GATEWAY_SECRET": "hunter2"}) as running:
        yield running
    names = ("docker network ls --format {{.Name}}", "nft list tables", "ls /sys/fs/cgroup/memory /sys/fs/cgroup")
    left = "".join(subprocess.run(c.split(), check=False, capture_output=True, text=True).stdout for c in names)
    assert running.instance not in left


@pytest.fixture(params=["none", "bridge"])
async def sandboxes(request: pytest.FixtureRequest) -> AsyncIterator[tuple[str, GatewayProcess, Api]]:
    """A network mode and a gateway whose sandboxes have it."""
    running = request.getfixturevalue("gateway" if request.param == "none" else "with_network")
    async with Api(running.url, running.token) as api:
        yield request.param, running, api
        for kernel in await api.kernels():
            await api.request("DELETE", f"/api/kernels/{kernel['id']}")


async def from_cell(socket: KernelSocket, code: str) -> dict[str, Any]:
    return dict(json.loads((await socket.execute(code)).stream()))


async def from_shell(socket: KernelSocket, code: str) -> dict[str, Any]:
    result = await socket.execute(f"{PYTHON} -I - <<'PROBE'\n{code}\nPROBE\n")
    return dict(json.loads(result.stream()))


@pytest.mark.parametrize(("kernelspec", "ask"), [("python3", from_cell), ("bash", from_shell)], ids=["cell", "shell"])
async def test_the_table_holds(
    sandboxes: tuple[str, GatewayProcess, Api], targets: dict[str, tuple[str, int]], kernelspec: str, ask: Any
) -> None:
    mode, running, api = sandboxes
    neighbour = await api.connect(await api.create())
    listening = "import socket; s = socket.create_server(('0.0.0.0', 7777)); print(socket.gethostbyname('sandbox'))"
    address = (await neighbour.execute(listening)).stream().strip()
    port = int(running.url.rpartition(":")[2])
    own = {"the gateway": ("gateway", port)}
    if mode == "bridge":
        own["another sandbox"] = (address, NEIGHBOUR_PORT)
    paths = [str(running.data_dir), str(running.data_dir / "run"), "/var/lib/docker", "/var/lib/sandkasten", "/work"]
    socket = await api.connect(await api.create(name=kernelspec))

    seen = await ask(socket, probe({**targets, **own}, paths))

    assert broken(seen) == {}
    assert seen["reach the outside"] in (("allowed",) if mode == "bridge" else NO_ROUTE)
    assert seen["interfaces"] == (["eth0", "lo"] if mode == "bridge" else ["lo"])


async def test_rules_that_somebody_flushed_come_back_while_sandboxes_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if os.geteuid() or not shutil.which("nft"):
        assert os.environ.get("CI") != "true", "the table is deleted by root's nft"
        pytest.skip("the table is deleted by root's nft")
    monkeypatch.setattr("sandkasten_kernels.engines.docker.rules_keeper.RULES_SECONDS", 0.1)
    instance = uuid.uuid4().hex
    table = ["table", *table_name(instance).split()]

    def rules() -> str:
        listed = subprocess.run(["nft", "list", *table], check=False, capture_output=True, text=True)
        return listed.stdout

    engine = DockerEngine(instance=instance, run_dir=tmp_path)
    engine.log = logging.getLogger("rules")
    try:
        await engine.setup([SandboxSpec("base", network_mode="bridge")])
        before = rules()
        for near in ("10.0.0.0/8", "168.63.129.16", "169.254.0.0/16", "192.0.0.0/24", "198.18.0.0/15"):
            assert near in before
        subprocess.run(["nft", "delete", *table], check=True)
        await eventually(rules, lambda now: now == before)
        await eventually(lambda: "packet rules of the sandboxes' network were missing" in caplog.text)
    finally:
        await engine.cleanup()
    assert rules() == ""


ALL_BUT_ONE = ["--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE"]  # --privileged fails where the host itself lacks one
UNCONFINED = ["--security-opt", "seccomp=unconfined"]


@pytest.mark.parametrize(
    ("control", "must_break"),
    [
        (
            [*ALL_BUT_ONE, *UNCONFINED, "--user", "0"],
            {"uid", "CapEff", "CapBnd", "call mount", "call bpf", "socket AF_PACKET"},
        ),
        (UNCONFINED, {"Seccomp", "call io_uring_setup", "socket AF_VSOCK", "call ptrace", "call name_to_handle_at"}),
    ],
    ids=["privileged", "unconfined"],
)
def test_the_table_breaks_in_a_container_that_is_not_locked_down(control: list[str], must_break: set[str]) -> None:
    command = ["docker", "run", "--rm", "--network", "none", *control, "--entrypoint", PYTHON]
    ran = subprocess.run([*command, "sandbox-runtime:base", "-c", probe({}, [])], capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert must_break <= set(broken(json.loads(ran.stdout)))


LEAVE = {
    "python3": """
import os, subprocess, multiprocessing.shared_memory as shm
mine = 'left behind'; os.environ['LEFT'] = 'behind'
for place in ('/tmp', '/workspace', '/home/sandbox', '/dev/shm', '/run/sandkasten'):
    open(place + '/left', 'w').write('x')
block = shm.SharedMemory('left-shared', create=True, size=64)
child = subprocess.Popen(['sleep', '1000'], start_new_session=True)
""",
    "bash": """
mine='left behind'; export LEFT=behind; left() { :; }
for place in /tmp /workspace /home/sandbox /dev/shm /run/sandkasten; do echo x > $place/left; done
setsid sleep 1000 >/dev/null 2>&1 &
history -s 'fr0m-before'
""",
}
LOOK = {
    "python3": """
import glob, os
get_ipython().run_line_magic('history', '')
print([n for n in globals() if n == 'mine'], os.environ.get('LEFT'), glob.glob('/*/left*') + glob.glob('/*/*/left*'),
      [c for c in (open(p).read() for p in glob.glob('/proc/[0-9]*/cmdline')) if 'sleep' in c])
""",
    "bash": """
echo "[${mine-}]" "${LEFT-None}" $(ls /*/left /*/*/left 2>/dev/null) "[]"
type left 2>/dev/null; history | grep 'fr0m[-]before'; grep -l sleep /proc/[0-9]*/comm || true
""",
}


@pytest.mark.parametrize("kernelspec", ["python3", "bash"])
async def test_nothing_of_the_one_before_is_found_after_a_claim(api: Api, kernelspec: str) -> None:
    first = await api.create(name=kernelspec)
    socket = await api.connect(first)
    left = await socket.execute(LEAVE[kernelspec])
    assert left.reply["status"] == "ok", left.reply
    beside = await api.connect(await api.create(name=kernelspec))
    after_one_that_runs = (await beside.execute(LOOK[kernelspec], store_history=False)).stream()
    assert (await api.request("DELETE", f"/api/kernels/{first}")).code == 204
    following = await api.connect(await api.create(name=kernelspec))
    after_one_that_ended = (await following.execute(LOOK[kernelspec], store_history=False)).stream()
    clean = "[] None [] []\n" if kernelspec == "python3" else "[] None []\n"
    assert (after_one_that_runs, after_one_that_ended) == (clean, clean)


@pytest.mark.alone
@pytest.mark.slow
async def test_thirty_that_fill_their_memory_end_each_other_and_never_the_gateway(tmp_path: Path) -> None:
    total = int(Path("/proc/meminfo").read_text().split()[1]) // 1024
    config = f"pool: {{enabled: false}}\nlimits: {{host_reserve_mb: {total - 3072}}}\n"
    with GatewayProcess(tmp_path, config) as running:
        async with Api(running.url, running.token) as api:
            watched = await api.connect(await api.create(name="bash"))
            kernels = [await api.create(name="bash") for _ in range(29)]
            sockets = await asyncio.gather(*(api.connect(kernel) for kernel in kernels))
            fill = f"{PYTHON} -c 'x = bytearray(400 << 20); import time; time.sleep(2)'; echo $?"
            filled = await asyncio.gather(*(socket.execute(fill) for socket in sockets), return_exceptions=True)
            assert (await api.get("/api/status"))["kernels"] == 30
            assert (await watched.execute("echo fine")).stream() == "fine\n"
            codes = [result.stream().strip() for result in filled if not isinstance(result, BaseException)]
            assert "137" in codes or len(codes) < 29
            for socket in sockets:
                socket.close()
