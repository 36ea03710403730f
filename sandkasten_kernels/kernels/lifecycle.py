"""KernelLifecycle: whether a kernel's process lives. Only this module starts it, restarts it and declares it dead."""

from __future__ import annotations

import asyncio
import enum
import logging
import signal
from collections.abc import Callable, Mapping
from typing import Any, Literal

from ..background import BackgroundTasks
from ..callbacks import Callbacks
from ..engines import Sandbox
from ..errors import KernelDead, SandboxFailed
from ..kernelspecs import Kernelspec
from ..relay import GuestLink, KernelLink, LinkError
from .exit_reason import ExitReason, HowEnded, death_reason
from .process import KernelProcess
from .record import KernelRecord, Recalled
from .restarts import Restarts

__all__ = ["Change", "KernelLifecycle", "KernelState"]

RESTART_GRACE_SECONDS = 2.0
SIGNAL_SECONDS = 1.0
DEATH_MESSAGE_SECONDS = 2.0  # time for the guest to say why a process ended, after its connections closed

Change = Literal["died", "restarted", "unresponsive"]


class KernelState(enum.Enum):
    """Where a kernel is in its life; changed by `KernelLifecycle._enter` alone."""

    STARTING = "starting"
    READY = "ready"
    DEAD = "dead"


class KernelLifecycle:
    """The process of one kernel, from its start to its end, and its successors after restarts.

    A process that ends by itself is started again, unless its kernelspec turns that off or it dies too often. The
    clients get the reason. When the sandbox ends, the kernel is dead for good.

    Attributes
    ----------
    reason: why the kernel is dead; empty while it is not.
    """

    def __init__(
        self,
        kernel_id: str,
        sandbox: Sandbox,
        spec: Kernelspec,
        log: logging.Logger,
        tasks: BackgroundTasks,
        how_ended: HowEnded,
        record: KernelRecord | None,
    ) -> None:
        self.id = kernel_id
        self.state = KernelState.STARTING
        self.reason = ""
        names = {"identity": record.identity, "session": record.session} if record else {}
        self.link = KernelLink(self._connection_lost, log, **names)
        self.guest = GuestLink(sandbox.guest_key, self._on_guest_message, self._connection_lost)
        self.process = KernelProcess(kernel_id, sandbox, spec, self.guest, self.link)
        self._sandbox = sandbox
        self._spec = spec
        self._log = log
        self._tasks = tasks
        self._changed: Callbacks[[Change, str]] = Callbacks()
        self._gone: Callbacks[[]] = Callbacks()
        self._exit_reason = ExitReason(sandbox, how_ended, log, tasks)
        self._restarts = Restarts(self._die, tasks)
        self._kill_reason = ""
        self._closed = False
        self._settled = asyncio.Event()
        self._lock = asyncio.Lock()
        self._death_timer: asyncio.TimerHandle | None = None
        self._sandbox_end: asyncio.Task[str] | None = None

    def __repr__(self) -> str:
        return f"<KernelLifecycle {self.id} {self._spec.name} {self.state.value}>"

    def on_change(self, callback: Callable[[Change, str], object]) -> None:
        """Call ``callback`` with what happened to the process, and why, while the sandbox lives on."""
        self._changed.add(callback)

    def on_gone(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` once when the sandbox has ended, or a kernel that has no owner yet."""
        self._gone.add(callback)

    def report(self, change: Change, reason: str) -> None:
        """Call the `on_change` callbacks."""
        self._changed(change, reason)

    async def settled(self) -> None:
        """Return when the kernel is not starting: it is ready or dead."""
        await self._settled.wait()

    def check(self) -> None:
        """Raise `KernelDead` for a dead kernel; one that is starting is not dead."""
        if self.state is KernelState.DEAD:
            raise KernelDead(self.death_message)

    @property
    def death_message(self) -> str:
        """What a client reads of a dead kernel: the reason and, while its sandbox lives, the way out."""
        way_out = " Restart it to go on." if self._sandbox.alive and not self._closed else ""
        return f"The kernel is gone: {self.reason}.{way_out}"

    async def start(self) -> None:
        """Return when the guest has answered, and the first process. Raises `LinkError`."""
        self._sandbox.on_exit(self._sandbox_exited)
        await self.guest.open(self._sandbox)
        await self._run("kernel_start_request", {})

    async def resume(self, record: KernelRecord) -> Recalled:
        """Return what the guest remembers of a process that an earlier gateway left, busy or not. Raises `LinkError`.

        A process that has ended meanwhile is started again, as after any death.
        """
        self._sandbox.on_exit(self._sandbox_exited)
        await self.guest.open(self._sandbox, self._sandbox.socket_names)
        recalled, problem = await self.process.resume(record)
        loop = asyncio.get_running_loop()
        # A `kernel_died` of the guest, or the end of the sandbox, may have come while `process.resume` was awaited.
        if self.state is KernelState.STARTING and not self._restarts.under_way:
            if problem:
                # The guest's `kernel_died` has a better reason, but comes over another socket and may be late.
                self._death_timer = loop.call_later(DEATH_MESSAGE_SECONDS, self._dead_since_before, problem)
            elif self._sandbox_end is None:
                self._enter(KernelState.READY)
        return recalled

    async def restart(self) -> None:
        """Return when a new process has answered, in the same sandbox. Raises `SandboxFailed`."""
        async with self._lock:
            if self.state is KernelState.DEAD and not self._sandbox.alive:
                raise SandboxFailed(f"this kernel cannot be restarted, its sandbox is gone ({self.reason})")
            self._enter(
                KernelState.STARTING
            )  # no `restarting` status: that opens a dialogue in JupyterLab, for a death
            try:
                if not self._spec.in_guest:
                    self.link.post("control", "shutdown_request", {"restart": True})
            except LinkError:
                self._log.debug("%r is not connected and gets no shutdown request", self)
            await self._replace_process("The kernel was restarted.")
            self.report("restarted", "a client restarted it")

    async def replace(self, reason: str) -> None:
        """End the process by SIGTERM, and by SIGKILL if it ignores that; start another one. Raises `SandboxFailed`."""
        async with self._lock:
            if self.state is KernelState.DEAD:
                return
            self._enter(KernelState.STARTING)
            self.report("died", reason)
            if not self._spec.in_guest:
                self.process.pid = None  # so that the guest's message of this death does not cause a second restart
                try:
                    await self.guest.signal(signal.SIGTERM, SIGNAL_SECONDS)
                except LinkError as error:
                    self._log.info("SIGTERM could not be sent to %r, SIGKILL follows: %s", self, error)
            message = f"The kernel was restarted: {reason}. Its variables are lost."
            self.link.announce_end("KernelRestarted", message, "restarting")
            await self._replace_process(message)
            self.report("restarted", reason)

    async def kill(self, reason: str) -> None:
        """Kill the process and report ``reason`` as the cause of its death. Raises `LinkError`."""
        self._kill_reason = reason
        await self.guest.signal(signal.SIGKILL, SIGNAL_SECONDS)

    def close(self, reason: str) -> None:
        """Close the connections and send ``reason`` to the clients; a second call does nothing."""
        self._closed = True
        self._die(reason)
        self._disconnect(reason)

    def leave(self, reason: str) -> None:
        """Close the connections without a word to clients: the process runs on for the next gateway process."""
        self._gone.clear()
        self._closed, self.reason = True, reason
        self._enter(KernelState.DEAD)
        self._disconnect(reason)

    def _disconnect(self, reason: str) -> None:
        self.link.close(reason)
        self.guest.close()
        self._exit_reason.close()
        self._restarts.close()
        if self._sandbox_end:
            self._sandbox_end.cancel()

    async def _replace_process(self, message: str) -> None:
        """Return when another process has answered; open requests end with ``message``. Raises `SandboxFailed`."""
        self.link.close("the kernel was restarted")
        self.link.fail_open_requests("KernelRestarted", message)
        try:
            await self._run("kernel_restart_request", {"grace": RESTART_GRACE_SECONDS})
        except LinkError as error:
            self._die(await self._exit_reason.or_sandbox(f"the kernel could not be restarted: {error}"))
            raise SandboxFailed(self.reason) from error

    async def _run(self, request: str, extra: Mapping[str, Any]) -> None:
        """Return when a new process has answered, as `KernelProcess.run`, and clients can use it."""
        self._kill_reason = ""
        await self.process.run(request, extra)
        if self.state is KernelState.DEAD:  # closed, or its sandbox ended, while the process started
            raise LinkError(self.reason)
        self._enter(KernelState.READY)
        self.link.publish("status", {"execution_state": "idle"})

    def _enter(self, state: KernelState) -> None:
        self.state = state
        if self._death_timer:
            self._death_timer.cancel()
            self._death_timer = None
        if state is KernelState.STARTING:
            self._settled.clear()
        else:
            self._settled.set()

    def _on_guest_message(self, msg_type: str, content: dict[str, Any]) -> None:
        # By the pid: the message about the death of an earlier process may come late.
        if msg_type == "kernel_died" and content.get("pid") == self.process.pid:
            self._process_died(self._kill_reason or death_reason(content))

    def _connection_lost(self) -> None:
        """Wait for the guest's `kernel_died`, which has the reason. Without one the kernel itself disconnected."""
        if self.state is KernelState.READY:
            self._enter(KernelState.STARTING)
            loop = asyncio.get_running_loop()
            self._death_timer = loop.call_later(DEATH_MESSAGE_SECONDS, self._disconnected)

    def _dead_since_before(self, problem: str) -> None:
        if self.state is KernelState.STARTING and not self._restarts.under_way:
            self._process_died(problem)

    def _disconnected(self) -> None:
        # A holder of the lock is replacing the process already.
        if self.state is KernelState.STARTING and not self._lock.locked():
            self._process_died("it closed its connections")

    def _process_died(self, reason: str) -> None:
        if not self.process.owned:
            self._die(reason)  # nobody has used it: the pool replaces the whole sandbox
            self._gone.call_once()
        elif not self._restarts.under_way and self._sandbox_end is None and self.state is not KernelState.DEAD:
            self._restarts.begin(self._start_again(reason, self.process.pid))

    async def _start_again(self, reason: str, pid: object) -> None:
        async with self._lock:
            # A client may have restarted the kernel, or tried to, while this waited for the lock.
            if self.process.pid != pid or self.state is KernelState.DEAD:
                return
            self._enter(KernelState.STARTING)
            self.link.close(reason)
            if not self._spec.auto_restart:
                self._die(reason)
                return
            if self._restarts.refused():
                self._die(f"{reason}, too often to be started again by itself")
                return
            self._log.warning("kernel %s died: %s", self.id, reason)
            self.report("died", reason)
            message = f"The kernel died: {reason}. It is started again; its variables are lost."
            self.link.announce_end("KernelDied", message, "restarting")
            try:
                await self._run("kernel_restart_request", {"grace": 0})
            except LinkError as error:
                self._die(await self._exit_reason.or_sandbox(f"it could not be started again: {error}"))
                return
            self.report("restarted", f"by itself, after it had died: {reason}")

    def _sandbox_exited(self) -> None:
        # The engine knows the reason some milliseconds later; requests wait until it is in their answers.
        if not self._closed:
            self._enter(KernelState.STARTING)
            self._sandbox_end = self._tasks.run("end of a sandbox", self._exit_reason.of_sandbox())
            self._sandbox_end.add_done_callback(self._end_with_sandbox)

    def _end_with_sandbox(self, task: asyncio.Task[str]) -> None:
        if not task.cancelled():
            self._die("its sandbox ended" if task.exception() else task.result())
            self._gone.call_once()

    def _die(self, reason: str) -> None:
        if self.state is KernelState.DEAD:
            return
        self.reason = reason
        self._enter(KernelState.DEAD)
        if self._sandbox.alive and not self._closed:
            self._log.warning("kernel %s is dead: %s", self.id, reason)
            self.report("died", reason)
        self.link.announce_end("KernelDied", self.death_message, "dead")
