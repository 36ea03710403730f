"""Kernel: one sandbox, the guest in it and the kernel process that it watches."""

from __future__ import annotations

import asyncio
import enum
import logging
import signal
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal

from .calls import LinkError
from .death import Deaths, death_in_words
from .engines import Sandbox
from .errors import KernelDead, SandboxFailed
from .guest_link import GuestLink
from .interrupts import Interrupts
from .kernel_process import WORKSPACE, KernelProcess
from .kernel_record import KernelRecord, Recalled
from .kernelspec import Kernelspec
from .link import Client, KernelLink
from .messages import Parts
from .pulse import Pulse
from .shell_link import ShellLink
from .verdict import HowEnded, Verdict, unknown
from .workspaces import Use

__all__ = ["WORKSPACE", "Change", "Kernel", "KernelState"]

RESTART_GRACE_SECONDS = 2.0
NEWS_SECONDS = 2.0
SETTLE_SECONDS = 5.0

Change = Literal["died", "restarted", "unresponsive"]


class KernelState(enum.Enum):
    """Where a kernel is in its life; changed by `Kernel._enter` alone."""

    STARTING = "starting"
    READY = "ready"
    DEAD = "dead"


class Kernel:
    """A kernel that can be asked, restarted, interrupted and ended.

    A process that ends by itself is started again, unless its kernelspec says otherwise or it happens too often, and
    the clients are told why; the end of the sandbox is the end of the kernel.

    Parameters
    ----------
    how_ended: asked for the reason when the sandbox has ended by itself.
    record: of the kernel that an earlier process of the gateway left, which is to `resume`.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        spec: Kernelspec,
        log: logging.Logger,
        how_ended: HowEnded = unknown,
        record: KernelRecord | None = None,
    ) -> None:
        self.id = record.id if record else str(uuid.uuid4())
        self.sandbox = sandbox
        self.spec = spec
        self.state = KernelState.STARTING
        self.reason = ""
        self.workspace: Use | None = None
        names = {"identity": record.identity, "session": record.session} if record else {}
        self.link = KernelLink(self._link_lost, log, **names)
        self.guest = GuestLink(sandbox.guest_key, self._on_news, self._link_lost)
        self._log = log
        self._verdict = Verdict(sandbox, how_ended, log)
        self._process = KernelProcess(self.id, sandbox, spec, self.guest, self.link)
        self._shell = ShellLink(sandbox, self.guest, log)
        self._pulse = Pulse(self.link, spec.heartbeat_seconds, self._on_pulse)
        self.interrupts = Interrupts(self.link, self.guest, spec, self._replace, log)
        self.link.on_asked = self._pulse.asked
        self._no_news: asyncio.TimerHandle | None = None
        self._condemned = ""
        self._closed = False
        self._settled = asyncio.Event()
        self._deaths = Deaths()
        self._on_change: Callable[[Change, str], None] = lambda change, reason: None
        self._on_gone: list[Callable[[], None]] = []
        self._lock = asyncio.Lock()
        self._revival: asyncio.Task[None] | None = None
        self._burial: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Kernel {self.id} {self.spec.name} {self.state.value} in {self.sandbox.id}>"

    @property
    def alive(self) -> bool:
        """Whether the kernel can be used at this instant: ready, and its sandbox runs."""
        return self.state is KernelState.READY and self.sandbox.alive

    def on_gone(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once when the sandbox has ended, or a kernel that nobody owns yet."""
        self._on_gone.append(callback)

    def on_connected(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever `record`, which is what it takes to reach the kernel, has changed."""
        self._process.on_connected = callback

    def on_change(self, callback: Callable[[Change, str], None]) -> None:
        """Call ``callback`` with what has happened to the process, and why, while the sandbox lives on."""
        self._on_change = callback

    @property
    def record(self) -> KernelRecord | None:
        """What it takes to reach the kernel; None before its first start."""
        return self._process.record

    @property
    def unresponsive(self) -> bool:
        """Whether somebody waits for the kernel, and it does not even answer that it is alive."""
        return self._pulse.unresponsive

    async def start(self) -> None:
        """Return when the kernel has answered and its output is subscribed to. Raises `SandboxFailed`."""
        self.sandbox.on_exit(self._sandbox_exited)
        try:
            await self.guest.open(self.sandbox.sockets)
            await self._run("kernel_start_request", {})
            if not self.spec.in_guest:
                await self._shell.warm_up()
        except LinkError as error:
            raise SandboxFailed(f"kernel {self.spec.name} did not start: {error}") from error

    async def resume(self, record: KernelRecord) -> Recalled:
        """Return what the guest says of a kernel that an earlier process left, when it is ours, busy or not.

        One that has ended meanwhile is started again, as after any death. Raises `SandboxFailed`.
        """
        self.sandbox.on_exit(self._sandbox_exited)
        try:
            await self.guest.open(self.sandbox.sockets, self.sandbox.arrival.sockets)
            recalled, problem = await self._process.resume(record)
        except LinkError as error:
            raise SandboxFailed(f"the guest of its sandbox does not answer: {error}") from error
        if problem:
            if self.state is KernelState.STARTING and self._revival is None:  # else the guest has told of its death
                self._revive(problem)
            return recalled
        if self.state is KernelState.STARTING and self._burial is None and self._revival is None:
            self._enter(KernelState.READY)
        if not self.spec.in_guest:
            try:
                await self._shell.resume()
            except LinkError as error:
                self._log.info("the shell of %r is opened when it is asked for: %s", self, error)
        return recalled

    async def prepare(self, env: Mapping[str, str], cwd: str | None) -> str | None:
        """Give a warm kernel its owner's environment and working directory, ahead of the owner's first request, and
        run its kernelspec's `after_claim`.

        Returns how, when it was not silent: variables that a process reads only at its start, and kernels whose
        language we cannot speak, make the process start anew. With a workspace it enters that. Raises `SandboxFailed`.
        """
        at_start = self._process.belong(env, cwd, in_workspace=self.workspace is not None)
        env, cwd = self._process.env, self._process.cwd
        try:
            self._process.leave_note()
            if (env or cwd) and not self.spec.in_guest:
                self._shell.set_up(env, cwd)
        except LinkError as error:
            raise SandboxFailed(f"the shell could not be prepared for its owner: {error}", retry_after=1) from error
        if at_start:
            await self.restart()
            return "the kernel was started anew with its environment"
        try:
            if env or cwd:
                self._process.set_up(env)
            await self._process.after_claim()
        except LinkError as error:
            raise SandboxFailed(f"kernel {self.spec.name} could not be prepared for its owner: {error}") from error
        return None

    async def send(self, client: Client, channel: str, parts: Parts) -> None:
        """Send a client's message; while the kernel starts it waits.

        Raises `LinkError` on a dead kernel; a request is answered with an error then.
        """
        await self._settled.wait()
        if self.state is KernelState.DEAD:
            self.link.refuse(client, parts, "KernelDied", self._is_gone())
            raise LinkError(self.reason)
        await self.link.send(client, channel, parts)

    async def settled(self) -> None:
        """Return when the kernel is not just starting, be it ready or dead."""
        await self._settled.wait()

    async def shell(self) -> KernelLink:
        """Return the link to the sandbox's shell, which is independent of the kernel.

        A bash kernel is that shell itself. Raises `LinkError` when the sandbox is gone or its guest does not answer.
        """
        if self.spec.in_guest:
            return self.link
        return await self._shell.get()

    def check_alive(self) -> None:
        """Raise `KernelDead` for a kernel that is dead; one that just starts is not."""
        if self.state is KernelState.DEAD:
            raise KernelDead(self._is_gone())

    async def restart(self) -> None:
        """Return when a new process has answered, in the same sandbox. Raises `SandboxFailed`."""
        async with self._lock:
            if self.state is KernelState.DEAD and not self.sandbox.alive:
                raise SandboxFailed(f"this kernel cannot be restarted, its sandbox is gone ({self.reason})")
            self._enter(KernelState.STARTING)  # untold: "restarting" is for a death, JupyterLab then opens a dialogue
            try:
                if not self.spec.in_guest:
                    self.link.post("control", "shutdown_request", {"restart": True})
            except LinkError:
                self._log.debug("%r has no link to be asked to shut down over", self)
            await self._exchange("The kernel was restarted.")
            self._on_change("restarted", "a client restarted it")

    async def _replace(self, reason: str) -> None:
        """End the process by SIGTERM, and by SIGKILL when it ignores that; start another. Raises `SandboxFailed`."""
        async with self._lock:
            if self.state is KernelState.DEAD:
                return
            self._enter(KernelState.STARTING)
            self._on_change("died", reason)
            if not self.spec.in_guest:
                self._process.pid = None  # its death is no news
                try:
                    await self.interrupts.signal(signal.SIGTERM)
                except SandboxFailed as error:
                    self._log.info("%r gets no SIGTERM, and SIGKILL later: %s", self, error)
            words = f"The kernel was restarted: {reason}. Its variables are lost."
            self.link.announce_end("KernelRestarted", words, "restarting")
            await self._exchange(words)
            self._on_change("restarted", reason)

    async def _exchange(self, words: str) -> None:
        """Return when another process has answered; ``words`` end what is asked of this one. Raises `SandboxFailed`."""
        self.link.close("the kernel was restarted")
        self.link.fail_open_requests("KernelRestarted", words)
        try:
            await self._run("kernel_restart_request", {"grace": RESTART_GRACE_SECONDS})
        except LinkError as error:
            self._die(await self._verdict.cause(f"the kernel could not be restarted: {error}"))
            raise SandboxFailed(self.reason) from error

    async def interrupt(self) -> None:
        """Interrupt what runs, in steps as `Interrupts` has them, and return after the first.

        Raises `KernelDead`, `SandboxFailed`.
        """
        try:
            await asyncio.wait_for(self._settled.wait(), SETTLE_SECONDS)
        except TimeoutError as error:
            raise SandboxFailed("the kernel is just starting: there is nothing to interrupt") from error
        self.check_alive()
        await self.interrupts.interrupt()

    async def kill(self, reason: str) -> None:
        """Kill the kernel's process, which is told to have died for that reason. Raises `SandboxFailed`."""
        self._condemned = reason
        await self.interrupts.signal(signal.SIGKILL)

    async def stop(self, words: str) -> bool:
        """Stop what runs in the kernel and in the shell, with the reason on stderr; False when nothing did.

        Raises `SandboxFailed`.
        """
        shell = self.link if self.spec.in_guest else self._shell.link
        commands = shell.tell_executions(words) if shell else []
        for msg_id in commands:
            await self.interrupts.stop_command(msg_id)
        cells = [] if shell is self.link else self.link.tell_executions(words)
        if cells:
            await self.interrupt()
        return bool(commands or cells)

    def close(self, reason: str) -> None:
        """End the connections and tell the clients; the sandbox is the pool's to destroy. Idempotent."""
        if self.workspace:
            self.workspace.ending = True
        self._closed = True
        self._die(reason)
        self.link.close(reason)
        self._shell.close(reason)
        self.guest.close()
        self._give_up()

    def _give_up(self) -> None:
        self._pulse.close()
        self.interrupts.close()
        self._verdict.close()
        for task in (self._revival, self._burial):
            if task is not None:
                task.cancel()

    def leave(self) -> None:
        """Give the connections back and tell nobody: the kernel runs on for the next process of the gateway."""
        self._on_gone.clear()
        self._closed, self.reason = True, "the gateway stops"
        self._enter(KernelState.DEAD)
        self.link.close(self.reason)
        self._shell.leave()
        self.guest.close()
        self._give_up()
        self.sandbox.close()

    async def _run(self, request: str, extra: Mapping[str, Any]) -> None:
        """Return when a new process has answered, as `KernelProcess.run`, and can be used."""
        self._condemned = ""
        await self._process.run(request, extra)
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
        if msg_type == "kernel_died" and content.get("pid") == self._process.pid:
            self._revive(self._condemned or death_in_words(content))

    def _on_pulse(self, words: str) -> None:
        if words:
            self._log.warning("kernel %s is unresponsive: %s", self.id, words)
            self._on_change("unresponsive", words)
        else:
            self._log.info("kernel %s answers again", self.id)

    def _link_lost(self) -> None:
        """A connection ended. The news of why is on its way; where none comes, the kernel itself hung up."""
        if self.state is KernelState.READY:
            self._enter(KernelState.STARTING)
            self._no_news = asyncio.get_running_loop().call_later(NEWS_SECONDS, self._hung_up)

    def _hung_up(self) -> None:
        if self.state is KernelState.STARTING and not self._lock.locked():
            self._revive("it closed its connections")

    def _revive(self, reason: str) -> None:
        if not self._process.owned:
            self._die(reason)
            self._tell_gone()
        elif self._revival is None and self._burial is None and self.state is not KernelState.DEAD:
            self._revival = asyncio.create_task(self._start_again(reason, self._process.pid))
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
            if self._process.pid != pid or self.state is KernelState.DEAD:
                return  # somebody has restarted it meanwhile, or it could not be
            self._enter(KernelState.STARTING)
            self.link.close(reason)
            if not self.spec.auto_restart:
                self._die(reason)
                return
            if not self._deaths.again(asyncio.get_running_loop().time()):
                self._die(f"{reason}, too often to be started again by itself")
                return
            self._log.warning("kernel %s died: %s", self.id, reason)
            self._on_change("died", reason)
            words = f"The kernel died: {reason}. It is started again; its variables are lost."
            self.link.announce_end("KernelDied", words, "restarting")
            try:
                await self._run("kernel_restart_request", {"grace": 0})
            except LinkError as error:
                self._die(await self._verdict.cause(f"it could not be started again: {error}"))
                return
            self._on_change("restarted", f"by itself, after it had died: {reason}")

    def _sandbox_exited(self) -> None:
        """Find out why before anybody is told, which takes the engine some milliseconds."""
        if not self._closed:
            self._enter(KernelState.STARTING)
            self._burial = asyncio.create_task(self._bury())
            self._burial.add_done_callback(self._buried)

    async def _bury(self) -> None:
        reason = await self._verdict.reason()
        self._die(reason)
        self._shell.close(reason)
        self._tell_gone()

    def _buried(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._log.error("%r could not be buried", self, exc_info=error)

    def _tell_gone(self) -> None:
        callbacks, self._on_gone = self._on_gone, []
        for callback in callbacks:
            callback()

    def _die(self, reason: str) -> None:
        if self.state is KernelState.DEAD:
            return
        self.reason = reason
        self._enter(KernelState.DEAD)
        if self.sandbox.alive and not self._closed:
            self._log.warning("kernel %s is dead: %s", self.id, reason)
            self._on_change("died", reason)
        self.link.announce_end("KernelDied", self._is_gone(), "dead")

    def _is_gone(self) -> str:
        way_out = " Restart it to go on." if self.sandbox.alive and not self._closed else ""
        return f"The kernel is gone: {self.reason}.{way_out}"
