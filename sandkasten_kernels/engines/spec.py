"""The values that cross the contract of an engine."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["WORKSPACE", "LeftSandbox", "SandboxSpec", "StoredWorkspace", "Usage", "signal_name"]

WORKSPACE = "/workspace"
"""Where every sandbox has its workspace; images and guests have the same path."""


@dataclass(frozen=True)
class SandboxSpec:
    """The configuration of one sandbox.

    Attributes
    ----------
    image: short or full name of the image.
    cpu_limit: CPU time in cores; fractions are allowed.
    mem_limit_mb: memory in MiB, without swap; the contents of every tmpfs count.
    pids_limit: number of processes and threads.
    network_mode: ``none``, or ``bridge``: the internet, but not the host, private networks or other sandboxes.
    readonly_rootfs: whether the files of the image are read-only.
    workspace: name of the workspace at ``/workspace``; empty for a tmpfs that ends with the sandbox.
    """

    image: str
    cpu_limit: float = 1.0
    mem_limit_mb: int = 512
    pids_limit: int = 256
    network_mode: str = "none"
    readonly_rootfs: bool = True
    workspace: str = ""


@dataclass(frozen=True)
class StoredWorkspace:
    """A workspace on the disk of an engine; `created` is in seconds since 1970."""

    name: str
    created: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LeftSandbox:
    """The stored facts of a sandbox that an earlier process of the gateway left; fields as in `Sandbox`."""

    id: str
    spec: SandboxSpec
    handle: str
    key: bytes
    workspace: str = WORKSPACE


@dataclass(frozen=True)
class Usage:
    """The resources that a sandbox uses.

    Attributes
    ----------
    memory_bytes, memory_limit: memory in use and its limit, in bytes; every tmpfs counts.
    cpu_usec: CPU time in microseconds since its start, summed over all CPUs.
    """

    memory_bytes: int
    memory_limit: int
    cpu_usec: int


def signal_name(number: int) -> str:
    """Return the name of a signal such as ``SIGKILL``; its number if it has no name."""
    return signal.Signals(number).name if number in set(signal.Signals) else str(number)
