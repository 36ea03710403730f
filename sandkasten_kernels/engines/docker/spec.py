"""The configuration of every container: the security options of a sandbox stand here, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...images import full_name
from ..spec import WORKSPACE, SandboxSpec

__all__ = [
    "HELPER_LABEL",
    "INSTANCE_LABEL",
    "MOUNT_HELPER",
    "PYTHON",
    "SANDBOX_LABEL",
    "SANDBOX_UID",
    "WORKSPACE_LABEL",
    "container_config",
    "helper_config",
    "tmpfs_sizes",
]

INSTANCE_LABEL = "sandkasten.instance"
SANDBOX_LABEL = "sandkasten.sandbox"
WORKSPACE_LABEL = "sandkasten.workspace"
HELPER_LABEL = "sandkasten.helper"
SANDBOX_UID = 10001
NOFILE = 16384
HOME = "/home/sandbox"
PYTHON = "/opt/sandkasten/bin/python"
"""The Python of the guest, in every image of ours; user packages are in another one."""
MOUNT_HELPER = "mount_helper.py"
"""Name of the helper's script in the directory that its container mounts."""
ROOT_INSIDE, SOCKET_INSIDE = "/workspaces", "/run/gateway/hello.sock"


def tmpfs_sizes(mem_limit_mb: int, workspace_mb: int = 0) -> dict[str, int]:
    """Return the size in MiB of each tmpfs by its path.

    Together they have half of the memory limit, because a full tmpfs stays in memory after its writer has ended.
    ``workspace_mb`` overrides the default of a quarter of the limit for ``/workspace``, up to a half.
    """
    return {
        WORKSPACE: min(workspace_mb or mem_limit_mb // 4, mem_limit_mb // 2),
        "/tmp": mem_limit_mb // 8,
        HOME: mem_limit_mb // 16,
        "/dev/shm": mem_limit_mb // 16,
    }


def container_config(
    name: str,
    spec: SandboxSpec,
    *,
    instance: str,
    door: Path,
    seccomp: str,
    network: str,
    cgroup: str,
    volume: str = "",
    workspace_mb: int = 0,
) -> dict[str, Any]:
    """Return the body of the engine's create call for the container of one sandbox.

    Parameters
    ----------
    door: directory on the host, mounted read-only at ``/run/gateway``.
    seccomp: the seccomp profile, as JSON.
    network: ``none``, or the name of a network.
    cgroup: the parent cgroup of all sandboxes, in the form of the engine's cgroup driver.
    volume: the volume of the workspace at ``/workspace``; empty for a tmpfs.
    workspace_mb: the size of that tmpfs in MiB; 0 for the default of `tmpfs_sizes`.

    Source: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerCreate
    """
    sizes = tmpfs_sizes(spec.mem_limit_mb, workspace_mb)
    owned = f"uid={SANDBOX_UID},gid={SANDBOX_UID}"
    tmpfs = {
        WORKSPACE: f"rw,exec,nosuid,nodev,size={sizes[WORKSPACE]}m,{owned},mode=0755",
        # exec: the engine's default is noexec, and users run programs here.
        "/tmp": f"rw,exec,nosuid,nodev,size={sizes['/tmp']}m,mode=1777",
        HOME: f"rw,exec,nosuid,nodev,size={sizes[HOME]}m,{owned},mode=0700",
        # For sockets alone: nothing in here can be run, and it is too small to take up memory.
        "/run/sandkasten": f"rw,noexec,nosuid,nodev,size=1m,nr_inodes=64,{owned},mode=0711",
    }
    mounts: list[dict[str, Any]] = [
        {
            "Type": "bind",
            "Source": str(door),
            "Target": "/run/gateway",
            "ReadOnly": True,
            "BindOptions": {"Propagation": "rprivate"},
        }
    ]
    if volume:
        del tmpfs[WORKSPACE]
        # NoCopy: else the engine fills an empty volume with the image's files.
        mounts.append({"Type": "volume", "Source": volume, "Target": WORKSPACE, "VolumeOptions": {"NoCopy": True}})
    memory = spec.mem_limit_mb * 1024 * 1024
    return {
        "Image": full_name(spec.image),
        "Hostname": "sandbox",
        "User": f"{SANDBOX_UID}:{SANDBOX_UID}",
        "Labels": {INSTANCE_LABEL: instance, SANDBOX_LABEL: name},
        "Env": [f"HOME={HOME}", "USER=sandbox", "LOGNAME=sandbox", "LANG=C.UTF-8", "TERM=dumb"],
        "WorkingDir": "/",
        "NetworkDisabled": network == "none",
        "HostConfig": {
            "NetworkMode": network,
            "CgroupParent": cgroup,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges", f"seccomp={seccomp}"],
            "Privileged": False,
            "ReadonlyRootfs": spec.readonly_rootfs,
            "Tmpfs": tmpfs,
            "ShmSize": sizes["/dev/shm"] * 1024 * 1024,
            "IpcMode": "private",
            "CgroupnsMode": "private",
            "Memory": memory,
            "MemorySwap": memory,  # memory and swap together: no swap
            "NanoCpus": int(spec.cpu_limit * 1e9),
            "PidsLimit": spec.pids_limit,
            "Ulimits": [
                {"Name": "nofile", "Soft": NOFILE, "Hard": NOFILE},
                {"Name": "core", "Soft": 0, "Hard": 0},
            ],
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {
                "Type": "local",
                # Bounded, as the output comes from a sandbox; `local` refuses to compress a single file.
                "Config": {"max-size": "64k", "max-file": "1", "compress": "false"},
            },
            "Mounts": mounts,
        },
    }


def helper_config(instance: str, image: str, root: Path, door: Path) -> dict[str, Any]:
    """Return the body of the engine's create call for a mount helper, which connects to the socket of ``door``.

    It has no network, and of the host's files it sees the workspaces alone. It enters the mount namespace of a sandbox
    by the pidfd in a request, and has no other way into it.
    """
    return {
        "Image": full_name(image),
        "User": "0:0",
        "Entrypoint": [PYTHON, "-I", "-S", f"/run/gateway/{MOUNT_HELPER}"],
        "Cmd": [ROOT_INSIDE, SOCKET_INSIDE],
        "Labels": {INSTANCE_LABEL: instance, HELPER_LABEL: "workspaces"},
        "NetworkDisabled": True,
        "HostConfig": {
            "AutoRemove": True,
            "NetworkMode": "none",
            "UsernsMode": "host",  # root of a user namespace may not mount for the host
            "CapDrop": ["ALL"],
            # mount and setns (PTRACE: a guest is not dumpable); the rest is for files that belong to the sandbox's user
            "CapAdd": ["SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE", "CHOWN", "DAC_OVERRIDE", "FOWNER"],
            # The engine's default AppArmor and seccomp profiles refuse mounts.
            "SecurityOpt": ["no-new-privileges", "apparmor=unconfined", "seccomp=unconfined", "label=disable"],
            "ReadonlyRootfs": True,
            "PidsLimit": 64,
            "LogConfig": {"Type": "local", "Config": {"max-size": "64k", "max-file": "1", "compress": "false"}},
            "Mounts": [
                {"Type": "bind", "Source": str(root), "Target": ROOT_INSIDE},
                {"Type": "bind", "Source": str(door), "Target": "/run/gateway", "ReadOnly": True},
            ],
        },
    }
