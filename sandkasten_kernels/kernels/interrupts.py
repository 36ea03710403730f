"""Interrupts: interrupts a running cell or command, in steps that grow stronger while it ignores them."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from ..background import BackgroundTasks
from ..errors import SandboxFailed
from ..kernelspecs import Kernelspec
from ..relay import GuestLink, KernelLink, LinkError

__all__ = ["INTERRUPT_SECONDS", "Interrupts"]

INTERRUPT_SECONDS = 1.0


class Interrupts:
    """Interrupts the running cell: a message on the control channel, then SIGINT, then SIGTERM and a restart.

    The next step follows if the cell still runs after the kernelspec's `interrupt_seconds`; the cell's stderr announces
    it. The steps of a bash kernel are SIGINT, then INT, TERM and KILL to the command, then a new bash.

    Parameters
    ----------
    replace: ends the process by SIGTERM and starts another one; its argument is the reason, in words.
    """

    def __init__(
        self,
        link: KernelLink,
        guest: GuestLink,
        spec: Kernelspec,
        replace: Callable[[str], Awaitable[None]],
        log: logging.Logger,
        tasks: BackgroundTasks,
    ) -> None:
        self._link = link
        self._guest = guest
        self._spec = spec
        self._replace = replace
        self._log = log
        self._tasks = tasks
        self._task: asyncio.Task[None] | None = None

    async def interrupt(self) -> None:
        """Take the first step, and the others in the background. Raises `SandboxFailed`."""
        # Before the first step: it may end this execution and let the next one begin.
        running = next(iter(self._link.executing()), None)
        await self._first()
        if running and self._spec.interrupt_seconds and self._task is None:  # one interrupt's steps at a time
            self._task = self._tasks.run("next steps of an interrupt", self._escalate(running))
            self._task.add_done_callback(self._done)

    async def interrupt_shell(self) -> None:
        """Send SIGINT to the shell's foreground processes; no-op when there are none. Raises `SandboxFailed`."""
        await self._wait_for(self._guest.call("interrupt_request", {}, INTERRUPT_SECONDS))

    async def stop_command(self, msg_id: str) -> None:
        """End one command of the shell by INT, TERM and KILL, as after its timeout; a queued command never starts.

        Raises `SandboxFailed`.
        """
        await self._wait_for(self._guest.call("interrupt_request", {"msg_id": msg_id}, INTERRUPT_SECONDS))

    def close(self) -> None:
        """Take no more steps; a second call does nothing."""
        if self._task:
            self._task.cancel()

    async def _first(self) -> None:
        try:
            if self._spec.spec.interrupt_mode == "message":
                await self._link.call("control", "interrupt_request", {}, INTERRUPT_SECONDS)
                return
        except LinkError as error:
            self._log.info("a kernel did not answer the interrupt request, SIGINT follows: %s", error)
        await (self.interrupt_shell() if self._spec.in_guest else self._interrupt_process())

    async def _interrupt_process(self) -> None:
        await self._wait_for(self._guest.signal(signal.SIGINT, INTERRUPT_SECONDS))

    async def _wait_for(self, request: Awaitable[Any]) -> None:
        try:
            await request
        except LinkError as error:
            raise SandboxFailed(f"the sandbox did not take a signal: {error}") from error

    async def _escalate(self, running: tuple[str, bytes]) -> None:
        seconds = self._spec.interrupt_seconds
        await asyncio.sleep(seconds)
        if not self._announce(
            running,
            f"The interrupt has not ended this within {seconds} s: SIGINT is sent. In {seconds} s the kernel is ended "
            "by SIGTERM and started again, without its variables.",
        ):
            return
        try:
            await (self.stop_command(running[0]) if self._spec.in_guest else self._interrupt_process())
        except SandboxFailed as error:
            self._log.info("the second step of an interrupt failed: %s", error)
        await asyncio.sleep(seconds)
        if self._announce(running, f"SIGINT has not ended this within {seconds} s: the kernel gets SIGTERM."):
            try:
                await self._replace("it ignored the interrupt, and got SIGTERM")
            except SandboxFailed as error:
                self._log.warning("the last step of an interrupt failed: %s", error)

    def _announce(self, running: tuple[str, bytes], line: str) -> bool:
        """Write a line to the stderr of a request; False when the request is done."""
        if running not in self._link.executing():
            return False
        self._log.info("next step of an interrupt: %s", line)
        self._link.publish("stream", {"name": "stderr", "text": f"{line}\n"}, running[1])
        return True

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
