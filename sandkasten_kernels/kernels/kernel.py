"""Kernel: one sandbox, its guest, its kernel process and its shell."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping

from ..background import BackgroundTasks
from ..engines import Sandbox
from ..errors import SandboxFailed
from ..kernelspecs import Kernelspec
from ..protocol import Parts
from ..relay import Client, KernelLink, LinkError
from ..workspaces import Lease
from .exit_reason import HowEnded, unknown
from .heartbeat import Heartbeat
from .interrupts import Interrupts
from .lifecycle import Change, KernelLifecycle, KernelState
from .record import KernelRecord, Recalled
from .shell import ShellLink

__all__ = ["Change", "Kernel", "KernelState"]

SETTLE_SECONDS = 5.0


class Kernel:
    """A kernel that takes requests and can be restarted, interrupted and ended, and the shell beside it.

    `KernelLifecycle` decides whether the kernel's process lives.

    Parameters
    ----------
    tasks: owner of the kernel's background work.
    how_ended: returns the reason when the sandbox has ended by itself.
    record: of a kernel that an earlier gateway process left; call `resume` then, else `start`.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        spec: Kernelspec,
        log: logging.Logger,
        tasks: BackgroundTasks,
        how_ended: HowEnded = unknown,
        record: KernelRecord | None = None,
    ) -> None:
        self.id = record.id if record else str(uuid.uuid4())
        self.sandbox = sandbox
        self.spec = spec
        self.workspace: Lease | None = None
        self._log = log
        self._life = KernelLifecycle(self.id, sandbox, spec, log, tasks, how_ended, record)
        self.link = self._life.link
        self.guest = self._life.guest
        self.interrupts = Interrupts(self.link, self.guest, spec, self._life.replace, log, tasks)
        self._shell = ShellLink(sandbox, self.guest, log)
        self._heartbeat = Heartbeat(self.link, spec.heartbeat_seconds, self._on_heartbeat, tasks)
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
        """Whether the kernel is ready and its sandbox runs, at this instant."""
        return self.state is KernelState.READY and self.sandbox.alive

    @property
    def record(self) -> KernelRecord | None:
        """How a later gateway process reaches the kernel; None before its first start."""
        return self._life.process.record

    @property
    def unresponsive(self) -> bool:
        """Whether a client waits for the kernel, and the kernel does not answer a heartbeat either."""
        return self._heartbeat.unresponsive

    def on_gone(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` once when the sandbox has ended, or a kernel that has no owner yet."""
        self._life.on_gone(callback)

    def on_connected(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` whenever `record` has changed, because the kernel is reached in another way."""
        self._life.process.on_connected(callback)

    def on_change(self, callback: Callable[[Change, str], object]) -> None:
        """Call ``callback`` with what happened to the process, and why, while the sandbox lives on."""
        self._life.on_change(callback)

    async def start(self) -> None:
        """Return when the kernel has answered and the subscription to its output is proven. Raises `SandboxFailed`."""
        try:
            await self._life.start()
            if not self.spec.in_guest:
                await self._shell.warm_up()
        except LinkError as error:
            raise SandboxFailed(f"kernel {self.spec.name} did not start: {error}") from error

    async def resume(self, record: KernelRecord) -> Recalled:
        """Connect to a kernel that an earlier process left, busy or not; return what its guest remembers.

        A kernel that has ended meanwhile is started again, as after any death. Raises `SandboxFailed`.
        """
        try:
            recalled = await self._life.resume(record)
        except LinkError as error:
            raise SandboxFailed(f"the guest of its sandbox does not answer: {error}") from error
        if not self.spec.in_guest and self.state is KernelState.READY:
            try:
                await self._shell.resume()
            except LinkError as error:
                self._log.info("the shell of %r is not connected yet, the first command connects it: %s", self, error)
        return recalled

    async def prepare(self, env: Mapping[str, str], cwd: str | None) -> str | None:
        """Give a warm kernel to its owner, with environment and working directory, and run the spec's `after_claim`.

        With a workspace the kernel enters it. All of this happens before the owner's first request. Returns None when
        the running process could take it over; else a sentence for the owner: the process was started anew, because of
        variables that a process reads only at its start, or a language without set-up code. Raises `SandboxFailed`.
        """
        process = self._life.process
        try:
            needs_restart = await process.give_owner(env, cwd, in_workspace=self.workspace is not None)
        except LinkError as error:
            raise SandboxFailed(f"kernel {self.spec.name} could not be prepared for its owner: {error}") from error
        try:
            if (process.env or process.cwd) and not self.spec.in_guest:
                self._shell.set_up(process.env, process.cwd)
        except LinkError as error:
            raise SandboxFailed(f"the shell could not be prepared for its owner: {error}", retry_after=1) from error
        if needs_restart:
            await self.restart()
            return "the kernel was started anew with its environment"
        return None

    def mark_owned(self) -> None:
        """Let the guest remember that the kernel has an owner; a guest that is gone is logged."""
        process = self._life.process
        process.owned = True
        try:
            process.leave_note()
        except LinkError as error:
            self._log.info("the guest of %r could not store that it has an owner: %s", self, error)

    async def send(self, client: Client, channel: str, parts: Parts) -> None:
        """Send a client's message; while the kernel starts, wait.

        For a dead kernel the client gets an error reply to its request, and `LinkError` is raised.
        """
        await self.settled()
        if self.state is KernelState.DEAD:
            self.link.refuse(client, parts, "KernelDied", self._life.death_message)
            raise LinkError(self.reason)
        await self.link.send(client, channel, parts)

    async def settled(self) -> None:
        """Return when the kernel is not starting: it is ready or dead."""
        await self._life.settled()

    async def shell(self) -> KernelLink:
        """Return the link to the sandbox's shell, which is independent of the kernel.

        For a bash kernel that is the kernel's own link. Raises `LinkError` when the sandbox is gone or its guest does
        not answer.
        """
        if self.spec.in_guest:
            return self.link
        return await self._shell.get()

    def check_alive(self) -> None:
        """Raise `KernelDead` for a dead kernel; one that is starting is not dead."""
        self._life.check()

    async def restart(self) -> None:
        """Return when a new process has answered, in the same sandbox. Raises `SandboxFailed`."""
        await self._life.restart()

    async def interrupt(self) -> None:
        """Interrupt the running cell by the first step of `Interrupts`; the later steps follow in the background.

        Raises `KernelDead`, `SandboxFailed`.
        """
        try:
            await asyncio.wait_for(self.settled(), SETTLE_SECONDS)
        except TimeoutError as error:
            raise SandboxFailed("the kernel is starting: there is nothing to interrupt") from error
        self.check_alive()
        await self.interrupts.interrupt()

    async def kill(self, reason: str) -> None:
        """Kill the kernel's process and report ``reason`` as the cause. Raises `SandboxFailed`."""
        try:
            await self._life.kill(reason)
        except LinkError as error:
            raise SandboxFailed(f"the kernel could not be killed: {error}") from error

    async def stop(self, reason: str) -> bool:
        """Stop the kernel's cell and the shell's command, with ``reason`` on their stderr; False when nothing runs.

        Raises `KernelDead`, `SandboxFailed`.
        """
        shell = self.link if self.spec.in_guest else self._shell.link
        commands = shell.write_to_executions(reason) if shell else []
        for msg_id in commands:
            await self.interrupts.stop_command(msg_id)
        # A bash kernel has one link: its cells are the commands.
        cells = [] if shell is self.link else self.link.write_to_executions(reason)
        if cells:
            await self.interrupt()
        return bool(commands or cells)

    def close(self, reason: str) -> None:
        """Close the connections and send ``reason`` to the clients. The pool destroys the sandbox. Idempotent."""
        if self.workspace:
            self.workspace.ending = True
        self._life.close(reason)
        self._shell.close(reason)
        self._heartbeat.close()
        self.interrupts.close()

    def leave(self) -> None:
        """Close the connections without a word to clients: the kernel runs on for the next gateway process."""
        self._life.leave("the gateway stops")
        self._shell.leave()
        self._heartbeat.close()
        self.interrupts.close()
        self.sandbox.close()

    def _on_heartbeat(self, problem: str) -> None:
        if problem:
            self._log.warning("kernel %s is unresponsive: %s", self.id, problem)
            self._life.report("unresponsive", problem)
        else:
            self._log.info("kernel %s answers again", self.id)
