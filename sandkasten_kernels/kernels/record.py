"""What the store keeps of a kernel, so that a later process of the gateway finds it and can speak to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..engines import LeftSandbox, Sandbox, SandboxSpec
from ..relay.guest_link import GuestLink

__all__ = ["KernelRecord", "Note", "Recalled", "left_sandbox", "recall"]

RECALL_SECONDS = 10.0
MAX_CLIENTS = 256


@dataclass(frozen=True, kw_only=True)
class KernelRecord:
    """How one kernel is reached.

    Attributes
    ----------
    id: the kernel's, and its session's.
    sockets: names of the kernel's sockets by channel; ``key`` signs what it is sent there.
    identity, session: of the gateway's link to it, by which replies find their way.
    pid: of its process, inside.
    clients: named seats by the sessions that their clients' messages carry.
    """

    id: str
    kernelspec: str
    sandbox: LeftSandbox
    key: str
    sockets: Mapping[str, str]
    identity: str
    session: str
    pid: int
    clients: Mapping[str, str] = field(default_factory=dict)

    def with_clients(self, clients: Mapping[str, str]) -> KernelRecord:
        """Return the record with other clients."""
        return replace(self, clients=dict(list(clients.items())[-MAX_CLIENTS:]))

    def as_json(self) -> dict[str, Any]:
        """Return the record as `from_json` takes it."""
        sandbox = {**vars(self.sandbox), "spec": vars(self.sandbox.spec), "key": self.sandbox.key.hex()}
        return {**vars(self), "sandbox": sandbox}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> KernelRecord:
        """Return what `as_json` gave, of this version or an older one. Raises `ValueError` for anything else."""
        try:
            sandbox = data["sandbox"]
            spec = SandboxSpec(**sandbox["spec"])
            left = LeftSandbox(**{**sandbox, "spec": spec, "key": bytes.fromhex(sandbox["key"])})
            return cls(**{**data, "sandbox": left})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not the record of a kernel: {error}") from error


def left_sandbox(sandbox: Sandbox) -> LeftSandbox:
    """Return what has to be known of a sandbox to adopt it."""
    return LeftSandbox(sandbox.id, sandbox.spec, sandbox.handle, sandbox.guest_key, sandbox.workspace)


@dataclass(frozen=True)
class Note:
    """What a guest remembers for the gateway, because no value of an environment is ever stored.

    Attributes
    ----------
    identity: of the gateway's link to the kernel, with which the guest holds its place.
    owned: whether the kernel has been claimed.
    env, cwd: what its owner gave it.
    """

    identity: str
    owned: bool
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None


@dataclass(frozen=True)
class Recalled:
    """What a guest says of its kernel: what it remembers, the process that runs (0: none), and where things are.

    Where it is of a version that does not say, there is no note and no process id.
    """

    note: Note | None
    pid: int | None
    cwd: str
    kernel_cwd: str


async def recall(guest: GuestLink) -> Recalled:
    """Return what a guest remembers; nothing, where it is of a version that does not.

    Only types are believed, of what it says. Raises `LinkError` when it does not answer.
    """
    reply = await guest.ask("recall_request", {}, RECALL_SECONDS)
    content = reply.content
    if content.get("status") != "ok":
        return Recalled(None, None, "", "")
    pid = content.get("pid")
    running = content.get("state") == "RUNNING"
    process = pid if running and isinstance(pid, int) else 0
    return Recalled(_note(content.get("note")), process, _path(content, "cwd"), _path(content, "kernel_cwd"))


def _note(data: Any) -> Note | None:
    if not isinstance(data, dict) or not data:
        return None
    env, cwd = data.get("env"), data.get("cwd")
    texts = isinstance(env, dict) and all(isinstance(value, str) for value in env.values())
    return Note(
        str(data.get("identity")),
        data.get("owned") is True,
        {str(name): value for name, value in env.items()} if texts and isinstance(env, dict) else {},
        cwd if isinstance(cwd, str) else None,
    )


def _path(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    return value if isinstance(value, str) and value.startswith("/") and len(value) <= 4096 else ""
