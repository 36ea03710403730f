"""Kernel: one sandbox, the guest in it and the kernel process that it watches."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping

from ..engines import Sandbox
from ..errors import SandboxFailed
from ..kernelspecs.kernelspec import Kernelspec
from ..protocol.messages import Parts
from ..relay.calls import LinkError
from ..relay.link import Client, KernelLink
from ..workspaces.workspaces import Lease
from .exit_reason import HowEnded, unknown
from .heartbeat import Heartbeat
from .interrupts import Interrupts
from .lifecycle import Change, KernelLifecycle, KernelState
from .record import KernelRecord, Recalled
from .shell import ShellLink

__all__ = ["Change", "Kernel", "KernelState"]

SETTLE_SECONDS = 5.0


class Kernel:
    """A kernel that can be asked, restarted, interrupted and ended, with the shell beside it.

    What becomes of its process is `KernelLifecycle`'s to decide.

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
        self.workspace: Lease | None = None
        self._log = log
        self._life = KernelLifecycle(self.id, sandbox, spec, log, how_ended, record)
        self.link = self._life.link
        self.guest = self._life.guest
        self.interrupts = Interrupts(self.link, self.guest, spec, self._life.replace, log)
        self._shell = ShellLink(sandbox, self.guest, log)
        self._pulse = Heartbeat(self.link, spec.heartbeat_seconds, self._on_pulse)
        self.link.on_asked = self._pulse.asked
        self.on_gone(lambda: self._shell.close(self.reason))

    def __repr__(self) -> str:
        return f"<Kernel {self.id} {self.spec.name} {self.state.value} in {self.sandbox.id}>"

    @property
    def state(self) -> KernelState:
        """Where the kernel is in its life."""
        return self._life.state

    @property
    def reason(self) -> str:
        """Why the kernel is dead; empty while it is not."""
        return self._life.reason

    @property
    def alive(self) -> bool:
        """Whether the kernel can be used at this instant: ready, and its sandbox runs."""
        return self.state is KernelState.READY and self.sandbox.alive

    @property
    def record(self) -> KernelRecord | None:
        """What it takes to reach the kernel; None before its first start."""
        return self._life.process.record

    @property
    def unresponsive(self) -> bool:
        """Whether somebody waits for the kernel, and it does not even answer that it is alive."""
        return self._pulse.unresponsive

    def on_gone(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once when the sandbox has ended, or a kernel that nobody owns yet."""
        self._life.on_gone.append(callback)

    def on_connected(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever `record`, which is what it takes to reach the kernel, has changed."""
        self._life.process.on_connected = callback

    def on_change(self, callback: Callable[[Change, str], None]) -> None:
        """Call ``callback`` with what has happened to the process, and why, while the sandbox lives on."""
        self._life.on_change = callback

    async def start(self) -> None:
        """Return when the kernel has answered and its output is subscribed to. Raises `SandboxFailed`."""
        try:
            await self._life.start()
            if not self.spec.in_guest:
                await self._shell.warm_up()
        except LinkError as error:
            raise SandboxFailed(f"kernel {self.spec.name} did not start: {error}") from error

    async def resume(self, record: KernelRecord) -> Recalled:
        """Return what the guest says of a kernel that an earlier process left, when it is ours, busy or not.

        One that has ended meanwhile is started again, as after any death. Raises `SandboxFailed`.
        """
        try:
            recalled = await self._life.resume(record)
        except LinkError as error:
            raise SandboxFailed(f"the guest of its sandbox does not answer: {error}") from error
        if not self.spec.in_guest and self.state is KernelState.READY:
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
        process = self._life.process
        at_start = process.belong(env, cwd, in_workspace=self.workspace is not None)
        env, cwd = process.env, process.cwd
        try:
            process.leave_note()
            if (env or cwd) and not self.spec.in_guest:
                self._shell.set_up(env, cwd)
        except LinkError as error:
            raise SandboxFailed(f"the shell could not be prepared for its owner: {error}", retry_after=1) from error
        if at_start:
            await self.restart()
            return "the kernel was started anew with its environment"
        try:
            if env or cwd:
                process.set_up(env)
            await process.after_claim()
        except LinkError as error:
            raise SandboxFailed(f"kernel {self.spec.name} could not be prepared for its owner: {error}") from error
        return None

    def tell_owned(self) -> None:
        """Let the guest remember that the kernel has an owner; no-op for one that cannot be told any more."""
        process = self._life.process
        process.owned = True
        try:
            process.leave_note()
        except LinkError as error:
            self._log.info("%r cannot be told that it has an owner: %s", self, error)

    async def send(self, client: Client, channel: str, parts: Parts) -> None:
        """Send a client's message; while the kernel starts it waits.

        Raises `LinkError` on a dead kernel; a request is answered with an error then.
        """
        await self.settled()
        if self.state is KernelState.DEAD:
            self.link.refuse(client, parts, "KernelDied", self._life.last_words)
            raise LinkError(self.reason)
        await self.link.send(client, channel, parts)

    async def settled(self) -> None:
        """Return when the kernel is not just starting, be it ready or dead."""
        await self._life.settled()

    async def shell(self) -> KernelLink:
        """Return the link to the sandbox's shell, which is independent of the kernel.

        A bash kernel is that shell itself. Raises `LinkError` when the sandbox is gone or its guest does not answer.
        """
        if self.spec.in_guest:
            return self.link
        return await self._shell.get()

    def check_alive(self) -> None:
        """Raise `KernelDead` for a kernel that is dead; one that just starts is not."""
        self._life.check()

    async def restart(self) -> None:
        """Return when a new process has answered, in the same sandbox. Raises `SandboxFailed`."""
        await self._life.restart()

    async def interrupt(self) -> None:
        """Interrupt what runs, in steps as `Interrupts` has them, and return after the first.

        Raises `KernelDead`, `SandboxFailed`.
        """
        try:
            await asyncio.wait_for(self.settled(), SETTLE_SECONDS)
        except TimeoutError as error:
            raise SandboxFailed("the kernel is just starting: there is nothing to interrupt") from error
        self.check_alive()
        await self.interrupts.interrupt()

    async def kill(self, reason: str) -> None:
        """Kill the kernel's process, which is told to have died for that reason. Raises `SandboxFailed`."""
        try:
            await self._life.kill(reason)
        except LinkError as error:
            raise SandboxFailed(f"the kernel could not be killed: {error}") from error

    async def stop(self, words: str) -> bool:
        """Stop what runs in the kernel and in the shell, with the reason on stderr; False when nothing did.

        Raises `KernelDead`, `SandboxFailed`.
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
        self._life.close(reason)
        self._shell.close(reason)
        self._pulse.close()
        self.interrupts.close()

    def leave(self) -> None:
        """Give the connections back and tell nobody: the kernel runs on for the next process of the gateway."""
        self._life.leave("the gateway stops")
        self._shell.leave()
        self._pulse.close()
        self.interrupts.close()
        self.sandbox.close()

    def _on_pulse(self, words: str) -> None:
        if words:
            self._log.warning("kernel %s is unresponsive: %s", self.id, words)
            self._life.on_change("unresponsive", words)
        else:
            self._log.info("kernel %s answers again", self.id)
