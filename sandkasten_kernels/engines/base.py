"""The contract of an engine.

An engine runs sandboxes: isolated environments with a guest as their first process. The docstring of a method is its
whole contract. A third-party engine subclasses `Engine`, and is an entry point of the group
``sandkasten_kernels.engines``.

A guest is ``python -m sandkasten_guest SOCKETS HELLO`` in an image of ours, or ``python -m sandkasten_kernels.guest``
with the same arguments. SOCKETS is a directory that belongs to the sandbox alone. HELLO is the path of ``hello.sock``
in a `Door`; `Door.hello` returns the `Arrival` for a `HostSandbox`. Both paths must be shorter than 90 bytes.
"""

from __future__ import annotations

import socket
from abc import ABC, ABCMeta, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from traitlets.config import LoggingConfigurable

from ..background import BackgroundTasks
from ..errors import ImageBuildError, InvalidRequest, InvalidWorkspace, SandboxFailed
from ..images import CustomImage, ImageState, Report
from ..protocol import MemoryBudget
from .finding import Finding
from .spec import WORKSPACE, LeftSandbox, SandboxSpec, StoredWorkspace, Usage

__all__ = ["Engine", "Sandbox"]


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


# traitlets has a metaclass of its own, and a class that is abstract too needs both.
class _EngineMeta(ABCMeta, type(LoggingConfigurable)):  # type: ignore[misc]
    pass


class Engine(LoggingConfigurable, metaclass=_EngineMeta):  # type: ignore[metaclass]
    """Runs the sandboxes of one gateway.

    Parameters
    ----------
    instance: id of the gateway's data directory. Sandboxes carry it; an engine never touches those of another instance.
    run_dir: a directory of the gateway's own (0700), for files that the engine needs at run time.
    workspaces_dir: the directory in which an engine on this host keeps workspaces; set before `setup`.
    left: ids of the sandboxes that may still be adopted; set before `setup`, which does not touch them.
    tasks: owner of everything that the engine runs in the background; the gateway replaces it by a group of its own
        before `setup`, so that failures are counted in ``/metrics``. The engine ends these tasks in `cleanup`.

    The gateway calls the class with ``instance``, ``run_dir``, ``config`` and ``log``: traitlets' configuration, from
    which the engine reads its own settings, and the gateway's log.
    """

    instance: str
    run_dir: Path
    workspaces_dir: Path | None = None
    left: frozenset[str] = frozenset()
    swept = 0
    """Number of ownerless sandboxes of earlier processes that this engine has removed so far."""
    can_adopt = False
    """Whether sandboxes can outlive the gateway: whether `adopt` and `leave` are implemented."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tasks = BackgroundTasks(self.log)

    @abstractmethod
    async def setup(self, specs: list[SandboxSpec]) -> None:
        """Return when the engine answers, has the images of ``specs``, and has removed everything of earlier runs.

        Sandboxes in `left` stay. Starts one sandbox as a proof that guests can be reached. Raises `EngineError` with
        the way out.
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
        # The `yield` below makes this an async generator, as the overriding methods are.
        nothing: tuple[Finding, ...] = ()
        for finding in nothing:
            yield finding

    async def memory_mb(self) -> int:
        """Return the memory in MiB of the machine that runs the sandboxes; 0 if unknown. As `diagnose`."""
        return 0

    @abstractmethod
    async def cleanup(self) -> None:
        """End every sandbox of this instance and release everything; a second call does nothing."""

    async def adopt(self, left: LeftSandbox) -> Sandbox:
        """Return a sandbox of an earlier process after its guest has said hello again; `setup` may still be running.

        Raises `SandboxFailed`, with a message for the owner, when the sandbox has ended or cannot be reached;
        `EngineError` when the engine does not answer.
        """
        raise SandboxFailed("this engine's sandboxes end with the gateway")

    async def remove_left(self, left: LeftSandbox) -> None:
        """Return when a sandbox that was not adopted is removed; no-op if it does not exist. Raises `EngineError`."""

    async def leave(self) -> None:
        """Release everything except the sandboxes, which go on for the next process; a second call does nothing."""
        await self.cleanup()

    @abstractmethod
    async def start(self, spec: SandboxSpec) -> Sandbox:
        """Return a new sandbox whose guest has said hello.

        Raises `SandboxFailed` when it does not start, `EngineError` when the engine does not answer. A failed or
        cancelled start leaves nothing behind.
        """

    @abstractmethod
    async def destroy(self, sandbox: Sandbox) -> None:
        """Return when the sandbox and its files are removed; no-op if they do not exist."""

    async def resize(self, sandbox: Sandbox, cpu_limit: float | None, mem_limit_mb: int | None) -> None:
        """Change the limits of a running sandbox; None keeps one. Raises `InvalidRequest` if the engine refuses."""
        raise InvalidRequest("cpu_limit, mem_limit_mb: this engine cannot change the limits of a sandbox")

    async def how_ended(self, sandbox: Sandbox) -> str:
        """Return the reason, as a sentence, why a sandbox ended unexpectedly; empty if the engine does not know.

        Called once, right after the end. Raises `EngineError`.
        """
        return ""

    async def stats(self, sandbox: Sandbox) -> dict[str, int]:
        """Return the resource usage of a sandbox, any of ``memory_bytes memory_limit cpu_usage_usec pids``."""
        return {}

    async def usages(self, sandboxes: Sequence[Sandbox]) -> Mapping[str, Usage]:
        """Return the usage of sandboxes by id, of those for which it is known at once; called every second.

        An engine on this host reads their cgroups (`host.cgroups.CgroupReader`).
        """
        return {}

    async def workspaces(self) -> list[StoredWorkspace]:
        """Return the existing workspaces, as found in storage."""
        return []

    async def make_workspace(self, name: str) -> None:
        """Create a workspace; no-op if it exists. Raises `InvalidWorkspace` if the engine has no workspaces."""
        raise InvalidWorkspace("this engine has no workspaces: ask for a session without one")

    async def attach(self, sandbox: Sandbox, workspace: str) -> bool:
        """Mount a workspace at ``/workspace`` of a running sandbox; processes see it when they enter it again.

        Returns False, with the sandbox unchanged, if this engine cannot: the caller starts a new sandbox with
        `SandboxSpec.workspace` instead. Raises `EngineError`; the sandbox is then unusable.
        """
        return False

    async def remove_workspace(self, name: str) -> None:
        """Remove an unused workspace with all its files. Raises `WorkspaceInUse`, `EngineError`."""
        raise InvalidWorkspace("this engine has no workspaces")

    def stored_in(self, sandbox: Sandbox, workspace: str) -> str:
        """Return the name to pass to `workspace_size` for a sandbox's ``/workspace``; empty if it is not on a disk.

        ``workspace``: the named workspace of the sandbox; empty for one that ends with it.
        """
        return workspace

    async def workspace_size(self, name: str) -> tuple[int, bool]:
        """Return the size in bytes on the disk, and whether every file was counted. Raises `EngineError`."""
        return 0, False
