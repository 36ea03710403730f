"""Kernel: one sandbox, the guest in it and the kernel process that it watches."""

from __future__ import annotations

import asyncio
import enum
import logging
import secrets
import signal
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from .calls import LinkError
from .engines import Sandbox
from .errors import SandboxFailed
from .guest_link import GuestLink
from .kernelspec import Kernelspec
from .link import Client, KernelLink
from .messages import Parts
from .own_code import READ_AT_START, set_up, silent, user_base
from .shell_link import ShellLink, guest_sockets, socket_names
from .workspaces import Use

__all__ = ["Kernel", "KernelState"]

START_SECONDS = 60.0
AFTER_CLAIM_SECONDS, MAX_WORDS = 30.0, 300
RESTART_GRACE_SECONDS = 2.0
INTERRUPT_SECONDS = 1.0
NEWS_SECONDS = 2.0
SETTLE_SECONDS = 5.0
MAX_DEATHS, DEATHS_WITHIN_SECONDS = 5, 60.0
WORKSPACE = "/workspace"


class KernelState(enum.Enum):
    """Where a kernel is in its life; changed by `Kernel._enter` alone."""

    STARTING = "starting"
    READY = "ready"
    DEAD = "dead"


class Kernel:
    """A kernel that can be asked, restarted, interrupted and ended.

    A process that ends by itself is started again (at most `MAX_DEATHS` times within `DEATHS_WITHIN_SECONDS`), and the
    clients are told why; the end of the sandbox is the end of the kernel.
    """

    def __init__(self, sandbox: Sandbox, spec: Kernelspec, log: logging.Logger) -> None:
        self.id = str(uuid.uuid4())
        self.sandbox = sandbox
        self.spec = spec
        self.state = KernelState.STARTING
        self.reason = ""
        self.workspace: Use | None = None
        self.link = KernelLink(self._link_lost, log)
        self._log = log
        self._env: dict[str, str] = {}
        self._cwd: str | None = None
        self._owned = False
        self._pid: object = None
        self._no_news: asyncio.TimerHandle | None = None
        self.guest = GuestLink(sandbox.guest_key, self._on_news, self._link_lost)
        self._shell = ShellLink(sandbox, self.guest, log)
        self._settled = asyncio.Event()
        self._deaths: deque[float] = deque(maxlen=MAX_DEATHS)
        self.connection: dict[str, Any] = {}
        self._on_connected: Callable[[], None] = lambda: None
        self._on_gone: list[Callable[[], None]] = []
        self._lock = asyncio.Lock()
        self._revival: asyncio.Task[None] | None = None

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
        """Call ``callback`` whenever `connection`, which is what it takes to reach the kernel, has changed."""
        self._on_connected = callback

    async def start(self) -> None:
        """Return when the kernel has answered and its output is subscribed to. Raises `SandboxFailed`."""
        self.sandbox.on_exit(self._sandbox_exited)
        try:
            await self.guest.open(self.sandbox.sockets)
            await self._run_process("kernel_start_request", {})
            if not self.spec.in_guest:
                await self._shell.warm_up()
        except LinkError as error:
            raise SandboxFailed(f"kernel {self.spec.name} did not start: {error}") from error

    async def prepare(self, env: Mapping[str, str], cwd: str | None) -> str | None:
        """Give a warm kernel its owner's environment and working directory, ahead of the owner's first request, and
        run its kernelspec's `after_claim`.

        Returns how, when it was not silent: variables that a process reads only at its start, and kernels whose
        language we cannot speak, make the process start anew. With a workspace it enters that. Raises `SandboxFailed`.
        """
        self._owned = True
        at_start_alone = any(map(READ_AT_START.match, env))
        if self.workspace:
            env, cwd = {**user_base(WORKSPACE), **env}, cwd or WORKSPACE
        self._env, self._cwd = dict(env), cwd
        try:
            if (env or cwd) and not self.spec.in_guest:
                self._shell.set_up(env, cwd)
        except LinkError as error:
            raise SandboxFailed(f"the shell could not be prepared for its owner: {error}", retry_after=1) from error
        language = self.spec.spec.language
        known = set_up(language, env, cwd) is not None
        at_start = not known or (language == "python" and at_start_alone)
        if env and at_start:
            await self.restart()
            return "the kernel was started anew with its environment"
        try:
            if env or cwd:
                self._set_up(env)
            await self._after_claim()
        except LinkError as error:
            raise SandboxFailed(f"kernel {self.spec.name} could not be prepared for its owner: {error}") from error
        return None

    async def send(self, client: Client, channel: str, parts: Parts) -> None:
        """Send a client's message; while the kernel starts it waits. Raises `LinkError` on a dead kernel."""
        await self._settled.wait()
        if self.state is KernelState.DEAD:
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
            self.link.close("the kernel was restarted")
            self.link.fail_open_requests("KernelRestarted", "The kernel was restarted.")
            try:
                await self._run_process("kernel_restart_request", {"grace": RESTART_GRACE_SECONDS})
            except LinkError as error:
                self._die(f"the kernel could not be restarted: {error}")
                raise SandboxFailed(self.reason) from error

    async def interrupt(self) -> None:
        """Interrupt what runs: a message on the control channel, and a signal when that is not answered in time.

        Raises `SandboxFailed` on a dead kernel.
        """
        try:
            await asyncio.wait_for(self._settled.wait(), SETTLE_SECONDS)
        except TimeoutError as error:
            raise SandboxFailed("the kernel is just starting: there is nothing to interrupt") from error
        if self.state is KernelState.DEAD:
            raise SandboxFailed(f"this kernel is dead: {self.reason}")
        try:
            if self.spec.spec.interrupt_mode == "message":
                await self.link.call("control", "interrupt_request", {}, INTERRUPT_SECONDS)
                return
        except LinkError:
            self._log.info("%r did not answer the interrupt request; it gets a signal", self)
        try:
            await self.guest.call("kernel_signal_request", {"signum": int(signal.SIGINT)}, INTERRUPT_SECONDS)
        except LinkError as error:
            raise SandboxFailed(f"the kernel could not be interrupted: {error}") from error

    async def kill(self) -> None:
        """Kill the kernel's process, which is then started again, without its variables. Raises `SandboxFailed`."""
        try:
            await self.guest.call("kernel_signal_request", {"signum": int(signal.SIGKILL)}, INTERRUPT_SECONDS)
        except LinkError as error:
            raise SandboxFailed(f"the kernel could not be killed: {error}") from error

    async def stop_command(self, msg_id: str) -> None:
        """End one request of the shell's as if its time were over: INT, TERM and KILL; one that waits is not begun.

        Raises `SandboxFailed`.
        """
        try:
            await self.guest.call("interrupt_request", {"msg_id": msg_id}, INTERRUPT_SECONDS)
        except LinkError as error:
            raise SandboxFailed(f"the command could not be stopped: {error}") from error

    async def interrupt_shell(self) -> None:
        """Send SIGINT to what runs in the shell's foreground; no-op when nothing does. Raises `SandboxFailed`."""
        try:
            await self.guest.call("interrupt_request", {}, INTERRUPT_SECONDS)
        except LinkError as error:
            raise SandboxFailed(f"the shell could not be interrupted: {error}") from error

    async def stop(self, words: str) -> bool:
        """Stop what runs in the kernel and in the shell, with the reason on stderr; False when nothing did.

        Raises `SandboxFailed`.
        """
        shell = self.link if self.spec.in_guest else self._shell.link
        commands = shell.tell_executions(words) if shell else []
        for msg_id in commands:
            await self.stop_command(msg_id)
        cells = [] if shell is self.link else self.link.tell_executions(words)
        if cells:
            await self.interrupt()
        return bool(commands or cells)

    def close(self, reason: str) -> None:
        """End the connections and tell the clients; the sandbox is the pool's to destroy. Idempotent."""
        if self.workspace:
            self.workspace.ending = True
        self._die(reason)
        self.link.close(reason)
        self._shell.close(reason)
        self.guest.close()
        if self._revival is not None:
            self._revival.cancel()

    async def _run_process(self, request: str, extra: Mapping[str, Any]) -> None:
        """Return when a new process, or the guest's new bash, has answered over new connections."""
        if self.spec.in_guest:
            await self.guest.call("shell_restart_request", {}, INTERRUPT_SECONDS)
            names, key = await guest_sockets(self.guest), self.sandbox.guest_key
        else:
            names, key = await self._start_process(request, extra)
        await self.link.open(self.sandbox.sockets, names, key, START_SECONDS)
        self.connection = {
            "guest_key": self.sandbox.guest_key.hex(),
            "key": key.hex(),
            "sockets": dict(names),
            "identity": self.link.identity.decode(),
        }
        self._on_connected()
        await self._run_own_code("warm_up", self.spec.warm_up, START_SECONDS)
        if self._cwd or (self.spec.in_guest and self._env):
            self._set_up(self._env)
        if self._owned:
            await self._after_claim()
        if self.state is KernelState.DEAD:
            raise LinkError(self.reason)
        self._enter(KernelState.READY)
        self.link.publish("status", {"execution_state": "idle"})

    async def _start_process(self, request: str, extra: Mapping[str, Any]) -> tuple[Mapping[str, str], bytes]:
        """Return the names of the sockets of a new kernel process, and the key of its connection."""
        key = secrets.token_hex(32)
        content = {
            "argv": self.spec.spec.argv,
            "env": {**self.spec.spec.env, **self._env},
            "cwd": self.sandbox.workspace,
            "key": key,
            "deadline": START_SECONDS,
            **extra,
        }
        answer = await self.guest.call(request, content, START_SECONDS + 5)
        self._pid = answer.get("pid")
        return socket_names(answer), key.encode()

    def _set_up(self, env: Mapping[str, str]) -> None:
        if request := set_up(self.spec.spec.language, env, self._cwd):
            self.link.post("shell", "execute_request", request)

    async def _after_claim(self) -> None:
        await self._run_own_code("after_claim", self.spec.after_claim, AFTER_CLAIM_SECONDS)

    async def _run_own_code(self, name: str, code: str, timeout: float) -> None:
        """Run code of the kernelspec's, unseen by clients. Raises `LinkError`, also when the code itself fails."""
        if not code:
            return
        reply = (await self.link.call("shell", "execute_request", silent(code), timeout)).content
        if reply.get("status") != "ok":
            words = f"{reply.get('ename')}: {reply.get('evalue')}"[:MAX_WORDS]
            printable = "".join(c if c.isprintable() else " " for c in words)
            raise LinkError(f"its {name} failed: {printable}")

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
        if msg_type == "kernel_died" and content.get("pid") == self._pid:
            self._revive(_death_in_words(content))

    def _link_lost(self) -> None:
        """A connection ended. The news of why is on its way; where none comes, the kernel itself hung up."""
        if self.state is KernelState.READY:
            self._enter(KernelState.STARTING)
            self._no_news = asyncio.get_running_loop().call_later(NEWS_SECONDS, self._hung_up)

    def _hung_up(self) -> None:
        if self.state is KernelState.STARTING and not self._lock.locked():
            self._revive("it closed its connections")

    def _revive(self, reason: str) -> None:
        if not self._owned:
            self._die(reason)
            self._tell_gone()
        elif self._revival is None and self.state is not KernelState.DEAD:
            self._revival = asyncio.create_task(self._start_again(reason))
            self._revival.add_done_callback(self._revived)

    def _revived(self, task: asyncio.Task[None]) -> None:
        self._revival = None
        if task.cancelled():
            self._die("it was not started again")
        elif error := task.exception():
            self._log.error("%r could not be revived", self, exc_info=error)
            self._die("it could not be started again")

    async def _start_again(self, reason: str) -> None:
        async with self._lock:
            self._log.warning("kernel %s died: %s", self.id, reason)
            self._enter(KernelState.STARTING)
            self.link.close(reason)
            now = time.monotonic()
            again = len(self._deaths) < MAX_DEATHS or now - self._deaths[0] > DEATHS_WITHIN_SECONDS
            self._deaths.append(now)
            if not again:
                self._die(f"{reason}, too often to be started again by itself")
                return
            words = f"The kernel died: {reason}. It is started again; its variables are lost."
            if not self.link.fail_open_requests("KernelDied", words):
                self.link.publish("stream", {"name": "stderr", "text": words + "\n"})
            self.link.publish("status", {"execution_state": "restarting"})
            try:
                await self._run_process("kernel_restart_request", {"grace": 0})
            except LinkError as error:
                self._die(f"it could not be started again: {error}")

    def _sandbox_exited(self) -> None:
        self._die("its sandbox ended")
        self._shell.close("its sandbox ended")
        self._tell_gone()

    def _tell_gone(self) -> None:
        callbacks, self._on_gone = self._on_gone, []
        for callback in callbacks:
            callback()

    def _die(self, reason: str) -> None:
        if self.state is KernelState.DEAD:
            return
        self.reason = reason
        self._enter(KernelState.DEAD)
        self.link.execution_state = "dead"
        self.link.fail_open_requests("KernelDied", f"The kernel is gone: {reason}.")
        self.link.publish("status", {"execution_state": "dead"})


def _death_in_words(content: Mapping[str, Any]) -> str:
    """Return why a kernel ended from the guest's news, whose fields are only believed as far as their types go."""
    limit, number, code = content.get("memory_limit"), content.get("signal"), content.get("exit_code")
    if content.get("out_of_memory"):
        words = "killed, out of memory"
        return f"{words}, limit {limit // 2**20} MiB" if isinstance(limit, int) else words
    if isinstance(number, int):
        name = signal.Signals(number).name if number in set(signal.Signals) else str(number)
        return f"killed by signal {name}"
    return f"it ended with exit code {code}" if isinstance(code, int) else "it ended"
