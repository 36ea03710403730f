"""KernelLife: whether a kernel's process lives; it is started, missed, started again and given up here alone."""

from __future__ import annotations

import asyncio
import enum
import logging
import signal
from collections.abc import Callable, Mapping
from typing import Any, Literal

from ..engines import Sandbox
from ..errors import KernelDead, SandboxFailed
from ..kernelspecs.kernelspec import Kernelspec
from ..relay.calls import LinkError
from ..relay.guest_link import GuestLink
from ..relay.link import KernelLink
from .death import RestartLimiter, death_in_words
from .exit_reason import ExitReason, HowEnded
from .process import KernelProcess
from .record import KernelRecord, Recalled

__all__ = ["Change", "KernelLifecycle", "KernelState"]

RESTART_GRACE_SECONDS = 2.0
SIGNAL_SECONDS = 1.0
NEWS_SECONDS = 2.0

Change = Literal["died", "restarted", "unresponsive"]


class KernelState(enum.Enum):
    """Where a kernel is in its life; changed by `KernelLifecycle._enter` alone."""

    STARTING = "starting"
    READY = "ready"
    DEAD = "dead"


class KernelLifecycle:
    """The process of one kernel, from its start to its end, however often that comes.

    A process that ends by itself is started again, unless its kernelspec says otherwise or it happens too often, and
    the clients are told why; the end of the sandbox is the end of the kernel.

    Attributes
    ----------
    reason: why the kernel is dead.
    on_change: called with what has happened to the process, and why, while the sandbox lives on.
    on_gone: each is called once when the sandbox has ended, or a kernel that nobody owns yet.
    """

    def __init__(
        self,
        kernel_id: str,
        sandbox: Sandbox,
        spec: Kernelspec,
        log: logging.Logger,
        how_ended: HowEnded,
        record: KernelRecord | None,
    ) -> None:
        self.id = kernel_id
        self.state = KernelState.STARTING
        self.reason = ""
        self.on_change: Callable[[Change, str], None] = lambda change, reason: None
        self.on_gone: list[Callable[[], None]] = []
        names = {"identity": record.identity, "session": record.session} if record else {}
        self.link = KernelLink(self._link_lost, log, **names)
        self.guest = GuestLink(sandbox.guest_key, self._on_news, self._link_lost)
        self.process = KernelProcess(kernel_id, sandbox, spec, self.guest, self.link)
        self._sandbox = sandbox
        self._spec = spec
        self._log = log
        self._verdict = ExitReason(sandbox, how_ended, log)
        self._deaths = RestartLimiter()
        self._condemned = ""
        self._closed = False
        self._settled = asyncio.Event()
        self._lock = asyncio.Lock()
        self._no_news: asyncio.TimerHandle | None = None
        self._revival: asyncio.Task[None] | None = None
        self._burial: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<KernelLife {self.id} {self._spec.name} {self.state.value}>"

    async def settled(self) -> None:
        """Return when the kernel is not just starting, be it ready or dead."""
        await self._settled.wait()

    def check(self) -> None:
        """Raise `KernelDead` for a kernel that is dead; one that just starts is not."""
        if self.state is KernelState.DEAD:
            raise KernelDead(self.last_words)

    @property
    def last_words(self) -> str:
        """What a client is told of a dead kernel."""
        way_out = " Restart it to go on." if self._sandbox.alive and not self._closed else ""
        return f"The kernel is gone: {self.reason}.{way_out}"

    async def start(self) -> None:
        """Return when the guest has answered, and the first process. Raises `LinkError`."""
        self._sandbox.on_exit(self._sandbox_exited)
        await self.guest.open(self._sandbox)
        await self._run("kernel_start_request", {})

    async def resume(self, record: KernelRecord) -> Recalled:
        """Return what the guest says of a process that an earlier gateway left, busy or not. Raises `LinkError`.

        One that has ended meanwhile is started again, as after any death.
        """
        self._sandbox.on_exit(self._sandbox_exited)
        await self.guest.open(self._sandbox, self._sandbox.socket_names)
        recalled, problem = await self.process.resume(record)
        if self.state is KernelState.STARTING and self._revival is None:  # else the guest has told of its death
            if problem:  # the guest tells more of it, on another socket than the one that was just asked
                self._no_news = asyncio.get_running_loop().call_later(NEWS_SECONDS, self._left_dead, problem)
            elif self._burial is None:
                self._enter(KernelState.READY)
        return recalled

    async def restart(self) -> None:
        """Return when a new process has answered, in the same sandbox. Raises `SandboxFailed`."""
        async with self._lock:
            if self.state is KernelState.DEAD and not self._sandbox.alive:
                raise SandboxFailed(f"this kernel cannot be restarted, its sandbox is gone ({self.reason})")
            self._enter(KernelState.STARTING)  # untold: "restarting" is for a death, JupyterLab then opens a dialogue
            try:
                if not self._spec.in_guest:
                    self.link.post("control", "shutdown_request", {"restart": True})
            except LinkError:
                self._log.debug("%r has no link to be asked to shut down over", self)
            await self._exchange("The kernel was restarted.")
            self.on_change("restarted", "a client restarted it")

    async def replace(self, reason: str) -> None:
        """End the process by SIGTERM, and by SIGKILL when it ignores that; start another. Raises `SandboxFailed`."""
        async with self._lock:
            if self.state is KernelState.DEAD:
                return
            self._enter(KernelState.STARTING)
            self.on_change("died", reason)
            if not self._spec.in_guest:
                self.process.pid = None  # its death is no news
                try:
                    await self.guest.signal(signal.SIGTERM, SIGNAL_SECONDS)
                except LinkError as error:
                    self._log.info("%r gets no SIGTERM, and SIGKILL later: %s", self, error)
            words = f"The kernel was restarted: {reason}. Its variables are lost."
            self.link.announce_end("KernelRestarted", words, "restarting")
            await self._exchange(words)
            self.on_change("restarted", reason)

    async def kill(self, reason: str) -> None:
        """Kill the process, which is told to have died for that reason. Raises `LinkError`."""
        self._condemned = reason
        await self.guest.signal(signal.SIGKILL, SIGNAL_SECONDS)

    def close(self, reason: str) -> None:
        """End the connections and tell the clients; a second call does nothing."""
        self._closed = True
        self._die(reason)
        self._let_go(reason)

    def leave(self, reason: str) -> None:
        """Give the connections back and tell nobody: the process runs on for the next one of the gateway."""
        self.on_gone.clear()
        self._closed, self.reason = True, reason
        self._enter(KernelState.DEAD)
        self._let_go(reason)

    def _let_go(self, reason: str) -> None:
        self.link.close(reason)
        self.guest.close()
        self._verdict.close()
        for task in (self._revival, self._burial):
            if task is not None:
                task.cancel()

    async def _exchange(self, words: str) -> None:
        """Return when another process has answered; ``words`` end what is asked of this one. Raises `SandboxFailed`."""
        self.link.close("the kernel was restarted")
        self.link.fail_open_requests("KernelRestarted", words)
        try:
            await self._run("kernel_restart_request", {"grace": RESTART_GRACE_SECONDS})
        except LinkError as error:
            self._die(await self._verdict.cause(f"the kernel could not be restarted: {error}"))
            raise SandboxFailed(self.reason) from error

    async def _run(self, request: str, extra: Mapping[str, Any]) -> None:
        """Return when a new process has answered, as `KernelProcess.run`, and can be used."""
        self._condemned = ""
        await self.process.run(request, extra)
        if self.state is KernelState.DEAD:
            raise LinkError(self.reason)
        self._enter(KernelState.READY)
        self.link.publish("status", {"execution_state": "idle"})

    def _enter(self, state: KernelState) -> None:
        self.state = state
        if self._no_news:
            self._no_news.cancel()
            self._no_news = None
        if state is KernelState.STARTING:
            self._settled.clear()
        else:
            self._settled.set()

    def _on_news(self, msg_type: str, content: dict[str, Any]) -> None:
        if msg_type == "kernel_died" and content.get("pid") == self.process.pid:
            self._revive(self._condemned or death_in_words(content))

    def _link_lost(self) -> None:
        """A connection ended. The news of why is on its way; where none comes, the kernel itself hung up."""
        if self.state is KernelState.READY:
            self._enter(KernelState.STARTING)
            self._no_news = asyncio.get_running_loop().call_later(NEWS_SECONDS, self._hung_up)

    def _left_dead(self, problem: str) -> None:
        if self.state is KernelState.STARTING and self._revival is None:
            self._revive(problem)

    def _hung_up(self) -> None:
        if self.state is KernelState.STARTING and not self._lock.locked():
            self._revive("it closed its connections")

    def _revive(self, reason: str) -> None:
        if not self.process.owned:
            self._die(reason)
            self._tell_gone()
        elif self._revival is None and self._burial is None and self.state is not KernelState.DEAD:
            self._revival = asyncio.create_task(self._start_again(reason, self.process.pid))
            self._revival.add_done_callback(self._revived)

    def _revived(self, task: asyncio.Task[None]) -> None:
        self._revival = None
        if task.cancelled():
            self._die("it was not started again")
        elif error := task.exception():
            self._log.error("%r could not be revived", self, exc_info=error)
            self._die("it could not be started again")

    async def _start_again(self, reason: str, pid: object) -> None:
        async with self._lock:
            if self.process.pid != pid or self.state is KernelState.DEAD:
                return  # somebody has restarted it meanwhile, or it could not be
            self._enter(KernelState.STARTING)
            self.link.close(reason)
            if not self._spec.auto_restart:
                self._die(reason)
                return
            if not self._deaths.again(asyncio.get_running_loop().time()):
                self._die(f"{reason}, too often to be started again by itself")
                return
            self._log.warning("kernel %s died: %s", self.id, reason)
            self.on_change("died", reason)
            words = f"The kernel died: {reason}. It is started again; its variables are lost."
            self.link.announce_end("KernelDied", words, "restarting")
            try:
                await self._run("kernel_restart_request", {"grace": 0})
            except LinkError as error:
                self._die(await self._verdict.cause(f"it could not be started again: {error}"))
                return
            self.on_change("restarted", f"by itself, after it had died: {reason}")

    def _sandbox_exited(self) -> None:
        """Find out why before anybody is told, which takes the engine some milliseconds."""
        if not self._closed:
            self._enter(KernelState.STARTING)
            self._burial = asyncio.create_task(self._bury())
            self._burial.add_done_callback(self._buried)

    async def _bury(self) -> None:
        self._die(await self._verdict.reason())
        self._tell_gone()

    def _buried(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._log.error("%r could not be buried", self, exc_info=error)

    def _tell_gone(self) -> None:
        callbacks, self.on_gone = self.on_gone, []
        for callback in callbacks:
            callback()

    def _die(self, reason: str) -> None:
        if self.state is KernelState.DEAD:
            return
        self.reason = reason
        self._enter(KernelState.DEAD)
        if self._sandbox.alive and not self._closed:
            self._log.warning("kernel %s is dead: %s", self.id, reason)
            self.on_change("died", reason)
        self.link.announce_end("KernelDied", self.last_words, "dead")
