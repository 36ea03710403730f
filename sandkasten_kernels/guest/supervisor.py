"""KernelSupervisor: starts and restarts the sandbox's one kernel, and publishes its death."""

from __future__ import annotations

import enum
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from .child_process import ChildProcess, Death, StartFailed
from .wire import Request

#: The sockets are polled for: another sandbox with the same host uid could use up the inotify instances.
READY_POLL_SECONDS = 0.005
STARTS = ("kernel_start_request", "kernel_restart_request")


class KernelPhase(enum.Enum):
    """The phase of the one kernel; `KernelSupervisor._enter` alone changes it."""

    NONE = enum.auto()
    STARTING = enum.auto()
    RUNNING = enum.auto()
    STOPPING = enum.auto()


class KernelSupervisor:
    """Holds one `ChildProcess` at a time.

    The caller calls `tick` after the seconds of `patience`, and `ended` for each child process.

    Parameters
    ----------
    directory: where the kernel creates its sockets.
    tidy: removes files there before a kernel starts.
    reply: answers a request; ``kernel_start_request`` and ``kernel_restart_request`` once the sockets exist.
    publish: publishes that the kernel has died, unless a restart was requested.
    """

    def __init__(
        self,
        directory: str,
        tidy: Callable[[], None],
        reply: Callable[[Request, dict[str, Any]], None],
        publish: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self.kernel: ChildProcess | None = None
        self.state = KernelPhase.NONE
        self._directory = directory
        self._tidy = tidy
        self._reply = reply
        self._publish = publish
        self._generation = 0
        self._asked: Request | None = None
        self._deadline = 0.0

    @property
    def name(self) -> str:
        """The prefix of the kernel's files; empty without a kernel."""
        return self.kernel.name if self.kernel else ""

    @property
    def pid(self) -> int:
        """The process id of the kernel; 0 without a kernel."""
        return self.kernel.pid if self.kernel else 0

    def take(self, request: Request) -> bool:
        """Start the work for a request, which is answered later; return False for one that is not allowed now."""
        if request.msg_type in STARTS and self.state is KernelPhase.NONE:
            self._start(request)
        elif request.msg_type == "kernel_restart_request":
            self._asked = request
            self._enter(KernelPhase.STOPPING, request.content["grace"])
        else:
            return False
        return True

    def patience(self) -> float | None:
        """Return seconds until `tick` is due, None for never."""
        if self.state is KernelPhase.STARTING:
            return READY_POLL_SECONDS
        if self.state is KernelPhase.STOPPING:
            return max(0.001, self._deadline - time.monotonic())
        return None

    def tick(self) -> None:
        """Answer the request when the kernel is ready; kill a kernel that exceeds its time."""
        if self.kernel is None:
            return
        late = time.monotonic() >= self._deadline
        if self.state is KernelPhase.STARTING and (sockets := self.kernel.sockets()):
            self._enter(KernelPhase.RUNNING)
            content = {"pid": self.kernel.pid, "generation": self._generation, "sockets": sockets}
            self._answer({"status": "ok", **content})
        elif self.state in (KernelPhase.STARTING, KernelPhase.STOPPING) and late:
            self.kernel.signal(signal.SIGKILL)

    def ended(self, pid: int, status: int) -> bool:
        """Handle the wait status of a child that has ended; return False when it is not the kernel."""
        if not self.kernel or pid != self.kernel.pid:
            return False
        self._handle_exit(self.kernel.ended(status))
        return True

    def _enter(self, state: KernelPhase, seconds: float = 0.0) -> None:
        self.state = state
        self._deadline = time.monotonic() + seconds

    def _start(self, request: Request) -> None:
        self._asked = request
        self._generation += 1
        self._tidy()
        kernel = ChildProcess(self._directory, self._generation)
        content = request.content
        try:
            kernel.spawn(content["argv"], {**os.environ, **content["env"]}, content["cwd"], content["key"])
        except (StartFailed, OSError, ValueError) as error:
            self._enter(KernelPhase.NONE)
            self._answer({"status": "error", "evalue": f"the kernel cannot be started: {error}"})
            return
        self.kernel = kernel
        self._enter(KernelPhase.STARTING, content["deadline"])

    def _handle_exit(self, death: Death) -> None:
        state = self.state
        self.kernel = None
        self._enter(KernelPhase.NONE)
        if state is KernelPhase.STARTING:
            self._answer({"status": "error", "evalue": "the kernel ended during its start", **death.content()})
        elif state is KernelPhase.STOPPING and self._asked:
            self._start(self._asked)
        else:
            self._publish("kernel_died", death.content())

    def _answer(self, content: dict[str, Any]) -> None:
        request, self._asked = self._asked, None
        if request:
            self._reply(request, content)
