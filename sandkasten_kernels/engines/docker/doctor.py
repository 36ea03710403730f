"""What an operator should know about a Docker engine. The checks read its own answers, and change nothing."""

from __future__ import annotations

import grp
import os
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import docker

from ...images import CustomImage, ImageState, ImageStatus, build_command
from ..finding import Finding, ok, problem, warning
from .builder.state import image_states
from .connection import EngineConnection
from .escapes import Escape, is_packaged, known_escapes
from .images import foreign_state

__all__ = [
    "check_cgroups",
    "check_confinement",
    "check_engine_disk",
    "check_engine_warnings",
    "check_image",
    "check_storage",
    "check_user",
    "check_versions",
    "diagnose",
]

TRACKER = "https://security-tracker.debian.org/tracker/"
ENGINE_ROOM_MB = 2048
ENGINE_COMFORT_MB = 10240


async def diagnose(
    connection: EngineConnection, images: Sequence[str], custom: Mapping[str, CustomImage]
) -> AsyncIterator[Finding]:
    """Yield the findings of every check, as `Engine.diagnose`."""
    yield check_user()
    await connection.open()
    client = connection.client
    version: dict[str, Any] = await connection.run(client.version)
    info: dict[str, Any] = await connection.run(client.info)
    name = (version.get("Platform") or {}).get("Name") or "Docker"
    yield ok("engine", f"{name} {version['Version']} answers at {os.environ.get('DOCKER_HOST') or 'its socket'}")
    for findings in (check_engine_warnings(info), check_versions(version, info), check_confinement(info)):
        for finding in findings:
            yield finding
    yield check_cgroups(info)
    yield check_storage(info)
    yield check_engine_disk(info)
    for state in await connection.run(_states, client, images, custom):
        yield check_image(state)


def _states(client: docker.DockerClient, images: Sequence[str], custom: Mapping[str, CustomImage]) -> list[ImageState]:
    known = {state.name: state for state in image_states(client, custom)}
    return [known.get(image) or foreign_state(client, image) for image in images]


def check_user() -> Finding:
    """Return which user would run the gateway, and whether that user may use the engine."""
    if os.geteuid() == 0:
        return ok("user", "root")
    try:
        group = grp.getgrnam("docker")
    except KeyError:
        return ok("user", f"uid {os.geteuid()}, and there is no group docker: the engine is this user's own")
    if group.gr_gid in {os.getegid(), *os.getgroups()}:
        return ok("user", f"uid {os.geteuid()}, member of the group docker")
    return warning(
        "user",
        f"uid {os.geteuid()} is neither root nor in the group docker",
        "unless the engine is this user's own (rootless): sudo usermod -aG docker $USER, and log in again",
    )


def check_versions(version: Mapping[str, Any], info: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield a finding for each component of the engine with known container escapes in some version."""
    parts = {part["Name"]: _version_of(part) for part in version.get("Components") or []}
    for name in ("containerd", "runc"):
        if name in parts:
            yield check_version(name, parts[name], known_escapes(name, parts[name]))
    platform = str((version.get("Platform") or {}).get("Name", ""))
    if platform.startswith("Docker Desktop"):
        number = platform.removeprefix("Docker Desktop").strip()
        yield check_version("Docker Desktop", number, known_escapes("Docker Desktop", number))
    if (info.get("Plugins") or {}).get("Authorization"):
        number = str(version.get("Version", ""))
        yield check_version("authorization plugins", f"of Docker {number}", known_escapes("AuthZ", number))


def _version_of(part: Mapping[str, Any]) -> str:
    """Return a component's version; the full one of a distribution's package, which some report as their commit."""
    version = str(part.get("Version", ""))
    commit = str((part.get("Details") or {}).get("GitCommit", ""))
    return commit if commit.startswith(version) and version else version


def check_version(name: str, version: str, found: Sequence[Escape]) -> Finding:
    """Return a finding for the escapes of `version`: a warning only for a distribution's package.

    Distributions fix vulnerabilities without a new upstream version, so that their number proves nothing.
    """
    if not found:
        return ok(name, f"{version}: no known container escape")
    flaws = "; ".join(f"{escape.cves}: {escape.what}" for escape in found)
    if is_packaged(version):
        places = " ".join(TRACKER + cve for escape in found for cve in escape.cves.split(", ")[:1])
        return warning(
            name,
            f"{version} is a distribution's package of a version that had {flaws}. Its number cannot tell whether the "
            "distribution has mended them",
            f"install its latest security updates, and compare the package's version with {places}",
        )
    newest = found[-1].fixed[-1]
    return problem(name, f"{version} has {flaws}", f"update {name} to {newest} or newer")


def check_cgroups(info: Mapping[str, Any]) -> Finding:
    """Return whether the engine can limit memory, processes, CPU and swap of a sandbox."""
    said = f"version {info.get('CgroupVersion', '1')}, driver {info.get('CgroupDriver', 'unknown')}"
    limits = {"memory": "MemoryLimit", "processes": "PidsLimit", "CPU": "CpuCfsQuota"}
    missing = [name for name, key in limits.items() if not info.get(key)]
    if missing or info.get("CgroupDriver") == "none":
        what = ", ".join(missing) or "anything"
        return problem(
            "cgroups",
            f"{said}: the engine cannot limit {what}",
            "enable the controllers (boot with cgroup_enable=memory; a rootless engine needs them delegated: "
            "https://rootlesscontaine.rs/getting-started/common/cgroup2/)",
        )
    if not info.get("SwapLimit"):
        return warning(
            "cgroups",
            f"{said}: swap cannot be limited, a sandbox may use it beyond its memory",
            "switch swap off, or boot with swapaccount=1",
        )
    return ok("cgroups", f"{said}: memory, swap, processes and CPU are limited")


def check_confinement(info: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield whether the engine filters system calls, and whether containers have user ids of their own."""
    options = [str(option) for option in info.get("SecurityOptions") or []]
    if any(option.startswith("name=seccomp") for option in options):
        yield ok("seccomp", "the engine filters system calls; sandboxes get a profile of our own")
    else:
        yield problem(
            "seccomp",
            "the engine does not filter system calls",
            "use a kernel with CONFIG_SECCOMP_FILTER and an engine built with seccomp",
        )
    if any(option.startswith(("name=userns", "name=rootless")) for option in options):
        yield ok("user namespaces", "ids inside are not the host's")
    else:
        yield ok("user namespaces", "not used: a sandbox is uid 10001 on the host too, without privileges")


def check_storage(info: Mapping[str, Any]) -> Finding:
    """Return whether sandboxes share the files of their image, or each has a copy."""
    driver = str(info.get("Driver", ""))
    if driver in ("overlay2", "overlayfs", "fuse-overlayfs", "btrfs", "zfs"):
        return ok("storage", f"{driver}: sandboxes share their image's files")
    return warning(
        "storage",
        f"{driver or 'unknown'} copies an image for each sandbox, which is slow and takes disk space",
        "set overlay2: https://docs.docker.com/engine/storage/drivers/overlayfs-driver/",
    )


def check_engine_disk(info: Mapping[str, Any]) -> Finding:
    """Return the free disk space of the engine, for images and sandboxes."""
    root = Path(str(info.get("DockerRootDir", "")))
    try:
        free = shutil.disk_usage(root).free >> 20
    except OSError:
        return warning("engine's disk", f"{root} cannot be seen from here", "run the gateway on the engine's own host")
    saw = f"{root} has {free / 1024:.1f} GiB free"
    advice = "make room: `docker system df` shows what takes it"
    if free < ENGINE_ROOM_MB:
        return problem("engine's disk", f"{saw}; images and sandboxes need {ENGINE_ROOM_MB >> 10} GiB", advice)
    if free < ENGINE_COMFORT_MB:
        return warning("engine's disk", f"{saw}, not enough to build images", advice)
    return ok("engine's disk", saw)


def check_engine_warnings(info: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the warnings of the engine itself, except those that another check covers."""
    covered = ("swap limit", "memory limit", "pids", "cpu cfs", "blkio", "io.max", "io.weight", "oomkilldisable")
    for text in info.get("Warnings") or []:
        line = " ".join(str(text).split()).removeprefix("WARNING: ")
        if "API is accessible" in line:
            advice = "every client that reaches it is root here: serve it on a Unix socket only, or with TLS"
            yield problem("engine", line, advice)
        elif not any(word in line.lower() for word in covered):
            yield warning("engine", line, "see the engine's own documentation")


def check_image(state: ImageState) -> Finding:
    """Return whether an image exists, has this guest protocol, and is up to date."""
    subject = f"image {state.name}"
    command = f"run `{build_command(state.reference)}`"
    said = f"{state.reference} is {state.status.value}"
    if state.status in (ImageStatus.MISSING, ImageStatus.FOREIGN):
        return problem(subject, said, command)
    if state.status is ImageStatus.OUTDATED:
        return warning(subject, f"{said}: what it is made from has changed since", command)
    return ok(subject, f"{said}, {state.size / 1e6:.0f} MB")
