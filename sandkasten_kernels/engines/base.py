"""What the gateway asks of an engine.

An engine runs sandboxes: isolated places with a guest as their first process. Every method's docstring is the whole
contract; an engine of one's own subclasses `Engine` and is an entry point of the group ``sandkasten_kernels.engines``.

A guest is ``python -m sandkasten_guest SOCKETS HELLO`` in an image of ours, or ``python -m sandkasten_kernels.guest``
with the same arguments. SOCKETS is a directory of the sandbox's own; HELLO is the path of ``hello.sock`` in a `Door`,
whose `hello` gives the `Arrival` that a `Sandbox` is made of. Both paths must have less than 90 bytes.
"""

from __future__ import annotations

import asyncio
import select
from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from traitlets.config import LoggingConfigurable

from ..channel import SocketDirectory
from .door import Arrival

__all__ = ["Engine", "Sandbox", "SandboxSpec"]


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
    """

    image: str
    cpu_limit: float = 1.0
    mem_limit_mb: int = 512
    pids_limit: int = 256
    network_mode: str = "none"
    readonly_rootfs: bool = True


@dataclass(eq=False)
class Sandbox:
    """One sandbox whose guest has said hello. Owns the descriptors of the guest's arrival; `close` gives them back.

    Attributes
    ----------
    id: name of the sandbox, unique in the installation.
    handle: how the engine itself calls it (a container's id).
    workspace: the directory, as seen from inside, that a kernel starts in.
    """

    id: str
    spec: SandboxSpec
    handle: str
    arrival: Arrival
    workspace: str = "/workspace"
    _on_exit: list[Callable[[], None]] = field(default_factory=list)
    _watched: bool = False

    @property
    def sockets(self) -> SocketDirectory:
        """The directory in which guest and kernel make their sockets."""
        return SocketDirectory(self.arrival.directory, self.arrival.uid)

    @property
    def guest_key(self) -> bytes:
        """The key that signs what the guest is told."""
        return self.arrival.key

    @property
    def alive(self) -> bool:
        """Whether the first process runs at this instant, asked of the kernel by its pidfd (no wait)."""
        if self.arrival.pidfd < 0:
            return False
        poll = select.poll()
        poll.register(self.arrival.pidfd, select.POLLIN)
        return not poll.poll(0)

    def on_exit(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once, on the event loop, when the first process has ended."""
        self._on_exit.append(callback)
        if not self._watched:
            self._watched = True
            asyncio.get_running_loop().add_reader(self.arrival.pidfd, self._exited)

    def close(self) -> None:
        """Give back the descriptors; no callback is made after it."""
        if self._watched:
            self._watched = False
            asyncio.get_running_loop().remove_reader(self.arrival.pidfd)
        self._on_exit.clear()
        self.arrival.close()

    def _exited(self) -> None:
        self._watched = False
        asyncio.get_running_loop().remove_reader(self.arrival.pidfd)
        callbacks, self._on_exit = self._on_exit, []
        for callback in callbacks:
            callback()


class _EngineMeta(ABCMeta, type(LoggingConfigurable)):  # type: ignore[misc]
    pass


class Engine(LoggingConfigurable, metaclass=_EngineMeta):  # type: ignore[metaclass]
    """Runs sandboxes for one gateway, which is known by ``instance``.

    Parameters
    ----------
    instance: id of the gateway's data directory; sandboxes carry it, and other instances' are never touched.
    run_dir: a directory of the gateway's own (0700) for what the engine needs at run time.

    The class is called with both, and with ``parent``, the application, which its own settings and its log come from.
    """

    instance: str
    run_dir: Path

    @abstractmethod
    async def setup(self, specs: list[SandboxSpec]) -> None:
        """Return when the engine answers and has the images of ``specs``, and nothing of an earlier run is left.

        Proves with one sandbox that guests can be reached. Raises `EngineError` with the way out.
        """

    @abstractmethod
    async def cleanup(self) -> None:
        """End what still runs of this instance and give everything back; a second call does nothing."""

    @abstractmethod
    async def start(self, spec: SandboxSpec) -> Sandbox:
        """Return a new sandbox whose guest has said hello.

        Raises `SandboxFailed` when it does not come up, `EngineError` when the engine does not answer. A failed or
        cancelled start leaves nothing behind.
        """

    @abstractmethod
    async def destroy(self, sandbox: Sandbox) -> None:
        """Return when the sandbox and its files are gone; no-op when they are."""
