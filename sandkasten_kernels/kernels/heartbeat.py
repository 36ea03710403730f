"""Heartbeat: whether a kernel can still answer while a client waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..background import BackgroundTasks
from ..relay import KernelLink, LinkError

__all__ = ["Heartbeat"]


class Heartbeat:
    """Sends heartbeats to a kernel while a client's request is open, and only then: an idle kernel costs nothing.

    A kernel that has sent nothing for ``seconds`` gets a request on its control channel. A healthy one answers in some
    milliseconds, also while a cell runs. One that does not answer within another ``seconds`` is unresponsive until it
    does: its process is stopped, or a cell holds the GIL. Meanwhile it gets no second request, so none pile up.

    Parameters
    ----------
    seconds: 0 turns it off, for kernels that do not serve their control channel while they work.
    on_report: called with the reason when the kernel becomes unresponsive, and with "" when it answers again.
    """

    def __init__(
        self, link: KernelLink, seconds: float, on_report: Callable[[str], None], tasks: BackgroundTasks
    ) -> None:
        self.unresponsive = False
        self._link = link
        self._seconds = seconds
        self._on_report = on_report
        self._tasks = tasks
        self._task: asyncio.Task[None] | None = None
        link.on_request(self._begin)

    def close(self) -> None:
        """Send no more heartbeats; a second call does nothing."""
        if self._task:
            self._task.cancel()

    def _begin(self) -> None:
        """Watch the kernel from a client's first request on; no-op while it is watched."""
        if self._seconds and (self._task is None or self._task.done()):
            self._task = self._tasks.keep("heartbeat", self._watch)
            self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        # A new watch may have begun between the end of this one and its callback.
        if self._task is task:
            self._task = None
        self.unresponsive = False

    async def _watch(self) -> None:
        """Return when no client waits for the kernel any more, or the kernel's process is gone."""
        loop = asyncio.get_running_loop()
        answered = loop.time()
        while self._link.waiting:
            silent = loop.time() - max(answered, self._link.heard_at)
            if silent < self._seconds:
                await asyncio.sleep(self._seconds - silent)
                continue
            try:
                answer = self._link.post("control", "kernel_info_request", {})
                # `wait_for` would cancel the request; its late answer is what ends the unresponsive state.
                await asyncio.wait({answer}, timeout=self._seconds)
                if not answer.done():
                    self.unresponsive = True
                    self._on_report(
                        f"no answer for {self._seconds:g} s: its process is stopped, or a cell blocks all its threads"
                    )
                await answer  # without a timeout: the end of the process raises LinkError
            except LinkError:
                return  # the process ended; the heartbeat begins again with the next request to another one
            answered = loop.time()
            if self.unresponsive:
                self.unresponsive = False
                self._on_report("")
