"""Pulse: whether a kernel that somebody waits for is still able to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..relay.calls import LinkError
from ..relay.link import KernelLink

__all__ = ["Heartbeat"]


class Heartbeat:
    """Looks after a kernel while a request is open, and only then: of an idle kernel nobody notices what it could do.

    A kernel that has said nothing for ``seconds`` is asked on its control channel, which answers in some milliseconds
    also while a cell runs. One that does not within as long is unresponsive until it does: its process is stopped, or a
    cell holds what all its threads need. It is not asked a second time meanwhile, so nothing piles up before it.

    Parameters
    ----------
    seconds: 0 for never, for kernels that do not answer on control while they work.
    tell: called with words when it becomes unresponsive, and with none when it answers again.
    """

    def __init__(self, link: KernelLink, seconds: float, tell: Callable[[str], None]) -> None:
        self.unresponsive = False
        self._link = link
        self._seconds = seconds
        self._tell = tell
        self._task: asyncio.Task[None] | None = None

    def asked(self) -> None:
        """A client has asked the kernel something."""
        if self._seconds and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._watch())
            self._task.add_done_callback(self._done)

    def close(self) -> None:
        """Look no more; a second call does nothing."""
        if self._task:
            self._task.cancel()

    def _done(self, task: asyncio.Task[None]) -> None:
        if self._task is task:
            self._task = None
        self.unresponsive = False

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        answered = loop.time()
        while self._link.waiting:
            silent = loop.time() - max(answered, self._link.heard_at)
            if silent < self._seconds:
                await asyncio.sleep(self._seconds - silent)
                continue
            try:
                answer = self._link.post("control", "kernel_info_request", {})
                await asyncio.wait({answer}, timeout=self._seconds)
                if not answer.done():
                    self.unresponsive = True
                    self._tell(f"no answer for {self._seconds:g} s: it is stopped, or a cell holds all of it")
                await answer
            except LinkError:
                return  # another process takes its place, or none
            answered = loop.time()
            if self.unresponsive:
                self.unresponsive = False
                self._tell("")
