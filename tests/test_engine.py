"""The security floor: every flag of it set, seen from the engine and from inside."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from typing import Any

import docker
import pytest

from .gateway import Gateway
from .kernel_client import Api

pytestmark = pytest.mark.docker

INSIDE = r"""
import ctypes, json, os, resource, socket, subprocess
status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
mounts = {line.split()[4]: line.split()[5].split(",") for line in open("/proc/self/mountinfo")}
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    return "allowed" if libc.syscall(number, *arguments) >= 0 else os.strerror(ctypes.get_errno())
def attempt(action):
    try: action()
    except OSError as error: return os.strerror(error.errno)
    return "allowed"
places = ("/tmp", "/workspace", "/home/sandbox", "/dev/shm", "/run/sandkasten")
doors = ("/var/run/docker.sock", "/run/containerd/containerd.sock", "/dev/kvm", "/dev/mem", "/dev/fuse")
print(json.dumps({
    "uid": os.getuid(),
    "capabilities": {status[name].strip() for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")} == {"0" * 16},
    "no_new_privileges": status["NoNewPrivs"].strip(), "seccomp": status["Seccomp"].strip(),
    "mounts": {path: mounts[path] for path in ("/", "/run/gateway", *places)},
    "interfaces": os.listdir("/sys/class/net"),
    "limits": {name: resource.getrlimit(getattr(resource, "RLIMIT_" + name)) for name in ("CORE", "NOFILE")},
    "unshare": call(272, 0x10000000), "io_uring": call(425, -1, 0), "bpf": call(321, -1, 0, 0), "keyctl": call(250, -1),
    "mount": call(165, 0, 0, 0, 0, 0), "setns": call(308, -1, 0), "userfaultfd": call(323, -1),
    "perf_event_open": call(298, 0, -1, -1, -1, -1), "pidfd_getfd": call(438, -1, -1, 0),
    "alg": attempt(lambda: socket.socket(38, socket.SOCK_SEQPACKET)),
    "vsock": attempt(lambda: socket.socket(40, socket.SOCK_STREAM)),
    "packet": attempt(lambda: socket.socket(17, socket.SOCK_RAW)),
    "connect": attempt(lambda: socket.create_connection(("169.254.169.254", 80), 1)),
    "docker": [path for path in doors if os.path.exists(path)],
    "setuid": subprocess.run("find / -xdev -perm /6000 -type f", shell=True, capture_output=True, text=True).stdout,
    "write_root": attempt(lambda: open("/etc/x", "w")),
    "write_cgroup": attempt(lambda: open("/sys/fs/cgroup/memory/tasks", "w")),
    "pids": sorted(int(name) for name in os.listdir("/proc") if name.isdigit())[0],
    "tmpfs_mb": sum(s.f_blocks * s.f_frsize for s in map(os.statvfs, places)) >> 20,
}))
"""


async def inside(api: Api, code: str = INSIDE) -> Any:
    """Return the JSON document that a cell in a fresh sandbox prints."""
    socket = await api.connect(await api.create())
    result = await socket.execute(code)
    assert result.reply["status"] == "ok", result.reply
    return json.loads(result.stream())


async def test_the_floor_holds_from_inside(api: Api) -> None:
    found = await inside(api)
    assert found["uid"] == 10001
    assert found["capabilities"]
    assert (found["no_new_privileges"], found["seccomp"]) == ("1", "2")
    assert "ro" in found["mounts"]["/"]
    assert {"ro"} <= set(found["mounts"]["/run/gateway"])
    for path in ("/tmp", "/workspace", "/home/sandbox", "/dev/shm", "/run/sandkasten"):
        assert {"nosuid", "nodev"} <= set(found["mounts"][path]), path
    assert "noexec" in found["mounts"]["/run/sandkasten"]
    assert found["interfaces"] == ["lo"]
    assert found["limits"]["CORE"] == [0, 0]
    assert found["limits"]["NOFILE"][1] <= 65536
    refused = {"Operation not permitted", "Function not implemented"}
    calls = ("unshare", "io_uring", "bpf", "keyctl", "mount", "setns", "userfaultfd", "perf_event_open", "pidfd_getfd")
    assert {found[name] for name in calls} <= refused
    assert {found[name] for name in ("alg", "vsock", "packet")} <= refused
    assert found["connect"] == "Network is unreachable"
    assert found["docker"] == []
    assert found["setuid"] == ""
    assert found["write_root"] == "Read-only file system"
    assert found["write_cgroup"] in ("Read-only file system", "Permission denied", "No such file or directory")
    assert found["pids"] == 1
    assert found["tmpfs_mb"] <= 512 * 0.6


async def test_the_floor_is_set_on_every_container(api: Api, gateway: Gateway, engine: docker.DockerClient) -> None:
    await api.create()
    inspected = []
    for container in gateway.containers():
        with contextlib.suppress(docker.errors.NotFound):  # one of the test before, just being removed
            inspected.append(engine.api.inspect_container(container))
    assert inspected
    for details in inspected:
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


ALL_BUT_ONE = ["--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE"]  # --privileged fails where the host itself lacks one
UNCONFINED = ["--security-opt", "seccomp=unconfined"]


@pytest.mark.parametrize("control", [[*ALL_BUT_ONE, *UNCONFINED], UNCONFINED], ids=["capabilities", "unconfined"])
def test_the_probe_fails_in_a_container_without_the_floor(control: list[str]) -> None:
    command = ["docker", "run", "--rm", "--network", "none", "--user", "0", "--tmpfs", "/workspace", *control]
    mounts = ["--tmpfs", "/run/sandkasten", "--tmpfs", "/run/gateway", "--tmpfs", "/home/sandbox", "--tmpfs", "/tmp"]
    program = ["--entrypoint", "/opt/venv/bin/python", "sandbox-runtime:python", "-c", INSIDE]
    found = json.loads(subprocess.run([*command, *mounts, *program], check=True, capture_output=True).stdout)
    assert found["seccomp"] != "2"
    allowed = {found["io_uring"], found["setns"], found["userfaultfd"], found["vsock"]}
    assert allowed & {"Invalid argument", "Bad file descriptor", "allowed"}


async def test_a_socket_made_inside_opens_for_the_gateway_and_for_nobody_else(api: Api, gateway: Gateway) -> None:
    await api.create()
    client = docker.from_env()
    pids = [client.api.inspect_container(name)["State"]["Pid"] for name in gateway.containers()]
    client.close()
    for pid in pids:
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
