"""What the gateway asks of an engine.

An engine runs sandboxes: isolated places with a guest as their first process. Every method's docstring is the whole
contract; an engine of one's own subclasses `Engine` and is an entry point of the group ``sandkasten_kernels.engines``.

A guest is ``python -m sandkasten_guest SOCKETS HELLO`` in an image of ours, or ``python -m sandkasten_kernels.guest``
with the same arguments. SOCKETS is a directory of the sandbox's own; HELLO is the path of ``hello.sock`` in a `Door`,
whose `hello` gives the `Arrival` that a `HostSandbox` is made of. Both paths must have less than 90 bytes.
"""

from __future__ import annotations

import signal
import socket
from abc import ABC, ABCMeta, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from traitlets.config import LoggingConfigurable

from ..background import BackgroundTasks
from ..errors import ImageBuildError, InvalidRequest, InvalidWorkspace, SandboxFailed
from ..images.custom import CustomImage
from ..images.progress import Report
from ..images.state import ImageState
from ..protocol.zmtp import MemoryBudget
from .finding import Finding

__all__ = ["WORKSPACE", "Engine", "LeftSandbox", "Sandbox", "SandboxSpec", "StoredWorkspace", "Usage", "signal_name"]


WORKSPACE = "/workspace"
"""Where every sandbox has its workspace; images and guests have the same path."""


@dataclass(frozen=True)
class SandboxSpec:
    """What a sandbox is made of.

    Attributes
    ----------
    image: short or full name of the image.
    cpu_limit: number of CPUs, may be a fraction.
    mem_limit_mb: memory in MiB; there is no swap beyond it, and every tmpfs counts.
    pids_limit: processes and threads.
    network_mode: ``none``; or ``bridge``, the internet without the host, private networks and other sandboxes.
    readonly_rootfs: whether the image's files cannot be changed.
    workspace: name of the workspace at ``/workspace``; without one there is a tmpfs that goes with the sandbox.
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
    """A workspace that an engine has; `created` is in seconds since 1970."""

    name: str
    created: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LeftSandbox:
    """What is known of a sandbox that an earlier process of the gateway left, with the fields of a `Sandbox`."""

    id: str
    spec: SandboxSpec
    handle: str
    key: bytes
    workspace: str = WORKSPACE


@dataclass(frozen=True)
class Usage:
    """What a sandbox uses.

    Attributes
    ----------
    memory_bytes, memory_limit: what it has, every tmpfs included, and what it may have.
    cpu_usec: processor time since its start, of all its processors together.
    """

    memory_bytes: int
    memory_limit: int
    cpu_usec: int


@dataclass(eq=False)
class Sandbox(ABC):
    """One sandbox whose guest has said hello, and the endpoint at which its sockets are opened.

    An engine has a subclass of its own; for sandboxes on this host there is `host.sandbox.HostSandbox`.

    Attributes
    ----------
    id: name of the sandbox, unique in the installation.
    handle: the engine's own name for it (a container's id).
    workspace: the directory, as seen from inside, in which a kernel starts.
    outdated: whether its image is another one than a new sandbox would get.
    room: the gateway's memory for unfinished messages, which this sandbox shares with the others.
    """

    id: str
    spec: SandboxSpec
    handle: str
    workspace: str = WORKSPACE
    outdated: bool = False
    room: MemoryBudget | None = None

    @property
    @abstractmethod
    def guest_key(self) -> bytes:
        """The key that signs the messages between gateway and guest."""

    @property
    def socket_names(self) -> Mapping[str, str]:
        """The names of the guest's own sockets by channel, as far as they differ from the defaults."""
        return {}

    @abstractmethod
    async def open_socket(self, name: str) -> socket.socket:
        """Return a stream, connected and non-blocking, to the socket ``name`` of the guest or the kernel.

        The caller closes it, and bounds the wait for a process that is about to listen. Raises `SocketError` without
        such a socket, and for a name that leads anywhere else.
        """

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether the first process runs at this instant; answered without a wait."""

    @abstractmethod
    def on_exit(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once, on the event loop, when the first process has ended; there may be many callbacks."""

    @abstractmethod
    def close(self) -> None:
        """Release what this process holds of it (descriptors, connections); no callback is called afterwards.

        The sandbox itself goes on: `Engine.destroy` ends it.
        """


class _EngineMeta(ABCMeta, type(LoggingConfigurable)):  # type: ignore[misc]
    pass


class Engine(LoggingConfigurable, metaclass=_EngineMeta):  # type: ignore[metaclass]
    """Runs sandboxes for one gateway, which is known by ``instance``.

    Parameters
    ----------
    instance: id of the gateway's data directory; sandboxes carry it, and other instances' are never touched.
    run_dir: a directory of the gateway's own (0700) for what the engine needs at run time.
    workspaces_dir: where an engine on this host keeps workspaces; set before `setup`.
    left: ids of the sandboxes that may yet be adopted, which `setup` leaves alone; set before it.
    tasks: owner of everything that the engine runs in the background; the gateway replaces it by a group of its own
        before `setup`, so that failures are counted in ``/metrics``. The engine ends these tasks in `cleanup`.

    The class is called with both, and with ``parent``, the application, which its own settings and its log come from.
    """

    instance: str
    run_dir: Path
    workspaces_dir: Path | None = None
    left: frozenset[str] = frozenset()
    swept = 0
    """How many sandboxes of an earlier process, which nobody owns, were removed so far."""
    can_adopt = False
    """Whether sandboxes can outlive the gateway: `adopt` and `leave` work."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tasks = BackgroundTasks(self.log)

    @abstractmethod
    async def setup(self, specs: list[SandboxSpec]) -> None:
        """Return when the engine answers and has the images of ``specs``, and nothing of an earlier run is there but
        the sandboxes that are in `left`.

        Proves with one sandbox that guests can be reached. Raises `EngineError` with the way out.
        """

    async def image_problem(self, image: str) -> str:
        """Return why no sandbox can be made from an image, as a sentence; empty if one can, or the engine cannot know.

        Works without `setup`. Raises `EngineError`.
        """
        return ""

    async def image_states(self, images: Mapping[str, CustomImage], base: str = "") -> list[ImageState]:
        """Return the state of the standard images and of ``images``, each after its parent; an engine may have none.

        Works without `setup`, and builds nothing. ``base`` as in `build`. Raises `EngineError`.
        """
        return []

    def build(self, names: Sequence[str], images: Mapping[str, CustomImage], report: Report, base: str = "") -> None:
        """Build images and their parents, unless they are up to date; only the command line calls this.

        Works without `setup`, and blocks the thread, so that Ctrl-C interrupts it: a build that ends early leaves
        nothing half made. Raises `ImageBuildError`, `EngineError`.

        Parameters
        ----------
        names: the images to build, of the standard ones and ``images``; empty for all.
        images: the custom images of the configuration, by name.
        report: called with each line of progress.
        base: the image to start from; empty for the engine's default.
        """
        raise ImageBuildError("this engine builds no images")

    async def diagnose(self, images: Sequence[str], custom: Mapping[str, CustomImage]) -> AsyncIterator[Finding]:
        """Yield what an operator should know about the engine, its host's limits and its images; changes nothing.

        Works without `setup`. Raises `EngineError` when the engine does not answer.

        Parameters
        ----------
        images: the images that the configuration uses.
        custom: the custom images of the configuration, by name.
        """
        nothing: tuple[Finding, ...] = ()
        for finding in nothing:
            yield finding

    async def memory_mb(self) -> int:
        """Return the memory in MiB of the machine that runs the sandboxes; 0 if unknown. As `diagnose`."""
        return 0

    @abstractmethod
    async def cleanup(self) -> None:
        """End what still runs of this instance and give everything back; a second call does nothing."""

    async def adopt(self, left: LeftSandbox) -> Sandbox:
        """Return a sandbox that an earlier process left, whose guest has said hello again; `setup` may still run.

        Raises `SandboxFailed`, in words for its owner, when it has ended or cannot be reached; `EngineError` when the
        engine does not answer.
        """
        raise SandboxFailed("this engine's sandboxes end with the gateway")

    async def remove_left(self, left: LeftSandbox) -> None:
        """Return when a sandbox that was not adopted is gone; no-op when it is. Raises `EngineError`."""

    async def leave(self) -> None:
        """Give everything back but the sandboxes, which run on for the next process; a second call does nothing."""
        await self.cleanup()

    @abstractmethod
    async def start(self, spec: SandboxSpec) -> Sandbox:
        """Return a new sandbox whose guest has said hello.

        Raises `SandboxFailed` when it does not come up, `EngineError` when the engine does not answer. A failed or
        cancelled start leaves nothing behind.
        """

    @abstractmethod
    async def destroy(self, sandbox: Sandbox) -> None:
        """Return when the sandbox and its files are gone; no-op when they are."""

    async def resize(self, sandbox: Sandbox, cpu_limit: float | None, mem_limit_mb: int | None) -> None:
        """Change the limits of a running sandbox; None leaves one as it is. An engine may refuse: `InvalidRequest`."""
        raise InvalidRequest("cpu_limit, mem_limit_mb: this engine cannot change the limits of a sandbox")

    async def how_ended(self, sandbox: Sandbox) -> str:
        """Return in words why a sandbox has ended, which nobody asked it to; empty where the engine does not know.

        Asked once, at the moment of its end. Raises `EngineError`.
        """
        return ""

    async def stats(self, sandbox: Sandbox) -> dict[str, int]:
        """Return what a sandbox uses: ``memory_bytes memory_limit cpu_usage_usec pids``, as far as it is known."""
        return {}

    async def usages(self, sandboxes: Sequence[Sandbox]) -> Mapping[str, Usage]:
        """Return what sandboxes use, by their ids, as far as it is known at once; called every second.

        An engine on this host reads their cgroups (`host.cgroups.CgroupReader`).
        """
        return {}

    async def workspaces(self) -> list[StoredWorkspace]:
        """Return the workspaces that there are, found again from what is stored."""
        return []

    async def make_workspace(self, name: str) -> None:
        """Return when a workspace is there, which may be for long. An engine may have none: `InvalidWorkspace`."""
        raise InvalidWorkspace("this engine has no workspaces: ask for a session without one")

    async def attach(self, sandbox: Sandbox, workspace: str) -> bool:
        """Put a workspace at ``/workspace`` of a sandbox that runs; processes enter the directory anew to see it.

        False where that cannot be done, and the sandbox is as before: one is to be started with
        `SandboxSpec.workspace`. Raises `EngineError`; the sandbox is then of no use.
        """
        return False

    async def remove_workspace(self, name: str) -> None:
        """Remove a workspace that no sandbox uses, with all its files. Raises `WorkspaceInUse`, `EngineError`."""
        raise InvalidWorkspace("this engine has no workspaces")

    def stored_in(self, sandbox: Sandbox, workspace: str) -> str:
        """Return the name by which `workspace_size` knows what is at a sandbox's ``/workspace``; empty if on no disk.

        ``workspace``: the named workspace that it has; empty when it has one of its own.
        """
        return workspace

    async def workspace_size(self, name: str) -> tuple[int, bool]:
        """Return bytes on the disk, and whether all were counted. Raises `EngineError`."""
        return 0, False


def signal_name(number: int) -> str:
    """Return what a signal is called: ``SIGKILL``, and of one that has no name its number."""
    return signal.Signals(number).name if number in set(signal.Signals) else str(number)
