"""KernelRecord: the stored data with which a later gateway process finds a kernel and connects to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..engines import LeftSandbox, Sandbox, SandboxSpec
from ..relay import GuestLink

__all__ = ["KernelRecord", "Note", "Recalled", "left_sandbox", "recall"]

RECALL_SECONDS = 10.0
MAX_CLIENTS = 256  # as many sessions as a link remembers (`OpenRequests`)


@dataclass(frozen=True, kw_only=True)
class KernelRecord:
    """How to reach one kernel.

    Attributes
    ----------
    id: the kernel's, and its session's.
    sockets: names of the kernel's sockets by channel; ``key`` signs the messages to them.
    identity, session: ZMTP identity and Jupyter session of the gateway's link, by which the kernel addresses replies.
    pid: of its process, as seen in the sandbox; 0 where the guest is the kernel.
    clients: names of seats by the Jupyter sessions of their clients.
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
        """Return the record with these clients, of which the last `MAX_CLIENTS` are kept."""
        return replace(self, clients=dict(list(clients.items())[-MAX_CLIENTS:]))

    def as_json(self) -> dict[str, Any]:
        """Return the record as JSON, for `from_json`."""
        sandbox = {**vars(self.sandbox), "spec": vars(self.sandbox.spec), "key": self.sandbox.key.hex()}
        return {**vars(self), "sandbox": sandbox}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> KernelRecord:
        """Return the record in the JSON of this version or an older one. Raises `ValueError` for any other data."""
        try:
            sandbox = data["sandbox"]
            spec = SandboxSpec(**sandbox["spec"])
            left = LeftSandbox(**{**sandbox, "spec": spec, "key": bytes.fromhex(sandbox["key"])})
            return cls(**{**data, "sandbox": left})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not the record of a kernel: {error}") from error


def left_sandbox(sandbox: Sandbox) -> LeftSandbox:
    """Return the data with which an engine adopts a sandbox."""
    return LeftSandbox(sandbox.id, sandbox.spec, sandbox.handle, sandbox.guest_key, sandbox.workspace)


@dataclass(frozen=True)
class Note:
    """What a guest remembers for the gateway: the store never gets a value of an environment.

    Attributes
    ----------
    identity: of the gateway's link to the kernel; the guest connects with it while the gateway is away.
    owned: whether the kernel has had an owner.
    env, cwd: the owner's environment and working directory.
    """

    identity: str
    owned: bool
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None


@dataclass(frozen=True)
class Recalled:
    """A guest's report of its kernel.

    Attributes
    ----------
    note: None if the guest has none, or its version has no notes.
    pid: of the process that runs, 0 for none; None if the guest's version does not report it.
    cwd, kernel_cwd: working directories of shell and kernel; empty if unknown.
    """

    note: Note | None
    pid: int | None
    cwd: str
    kernel_cwd: str


async def recall(guest: GuestLink) -> Recalled:
    """Return a guest's report; an empty one from a guest of a version without reports.

    A field of another type than expected counts as missing. Raises `LinkError` when the guest does not answer.
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
    return value if isinstance(value, str) and value.startswith("/") and len(value) <= 4096 else ""  # PATH_MAX
