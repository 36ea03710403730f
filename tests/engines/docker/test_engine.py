"""The security floor: every flag of it set, seen from the engine and from inside."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from typing import Any

import docker
import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api

pytestmark = pytest.mark.docker


async def inside(api: Api, code: str) -> Any:
    """Return the JSON document that a cell in a fresh sandbox prints."""
    socket = await api.connect(await api.create())
    result = await socket.execute(code)
    assert result.reply["status"] == "ok", result.reply
    return json.loads(result.stream())


def inspected(gateway: GatewayProcess, engine: docker.DockerClient) -> list[Any]:
    """Return what the engine says of each of the gateway's containers."""
    found = []
    for container in gateway.containers():
        with contextlib.suppress(docker.errors.NotFound):  # one of the test before, just being removed
            found.append(engine.api.inspect_container(container))
    assert found
    return found


async def test_the_floor_is_set_on_every_container(
    api: Api, gateway: GatewayProcess, engine: docker.DockerClient
) -> None:
    await api.create()
    for details in inspected(gateway, engine):
        host, config = details["HostConfig"], details["Config"]
        assert host["CapDrop"] == ["ALL"]
        assert not host["CapAdd"]
        assert not host["Privileged"]
        assert "no-new-privileges" in host["SecurityOpt"]
        (profile,) = (option.partition("=")[2] for option in host["SecurityOpt"] if option.startswith("seccomp="))
        assert json.loads(profile)["defaultAction"] == "SCMP_ACT_ERRNO"
        assert host["ReadonlyRootfs"]
        assert host["NetworkMode"] == "none"
        assert host["Memory"] == host["MemorySwap"] == 512 * 2**20
        assert host["NanoCpus"] == 10**9
        assert host["PidsLimit"] == 256
        assert {limit["Name"]: limit["Hard"] for limit in host["Ulimits"]} == {"nofile": 16384, "core": 0}
        assert host["LogConfig"]["Config"]["max-size"] == "64k"
        assert host["RestartPolicy"]["Name"] == "no"
        assert [mount["Target"] for mount in host["Mounts"]] == ["/run/gateway"]
        assert host["Mounts"][0]["ReadOnly"]
        assert not details["Mounts"][0]["RW"]
        assert config["User"] == "10001:10001"
        assert config["Labels"]["sandkasten.instance"] == gateway.instance
        secrets = [line for line in config["Env"] if any(w in line for w in ("KEY", "TOKEN", "SECRET", "hunter2"))]
        assert secrets == []


async def test_a_socket_made_inside_opens_for_the_gateway_and_for_nobody_else(
    api: Api, gateway: GatewayProcess, engine: docker.DockerClient
) -> None:
    await api.create()
    for pid in [details["State"]["Pid"] for details in inspected(gateway, engine)]:
        probe = f"ls /proc/{pid}/root/run/sandkasten || ls {gateway.data_dir}/run"
        seen = subprocess.run(
            ["bash", "-c", probe], user=65534, capture_output=True, check=False, env={"PATH": os.environ["PATH"]}
        )
        assert seen.returncode != 0
        assert seen.stdout == b""


async def test_sandboxes_do_not_see_each_other(api: Api) -> None:
    first, second = await api.connect(await api.create()), await api.connect(await api.create())
    places = "('/tmp', '/workspace', '/dev/shm', '/home/sandbox', '/run/sandkasten')"
    leave = f"for d in {places}: open(d + '/trace', 'w').write('x')"
    assert (await first.execute(leave)).reply["status"] == "ok"
    look = f"import glob, os; print([p for d in {places} for p in glob.glob(d + '/trace')], os.listdir('/run/gateway'))"
    assert (await second.execute(look)).stream() == "[] []\n"
    processes = "import os; print(len([n for n in os.listdir('/proc') if n.isdigit()]))"
    assert int((await second.execute(processes)).stream()) <= 3


async def test_the_guest_is_small_and_the_kernel_dies_first(api: Api) -> None:
    files = "'/proc/1/status', '/proc/self/oom_score_adj', '/proc/1/oom_score_adj'"
    code = f"import json; print(json.dumps([open(path).read() for path in ({files})]))"
    status, own, guest = await inside(api, code)
    rss = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert rss < 18 * 1024
    assert int(own) > int(guest)
