"""Running code or a command to its end and passing on what it says; collecting and streaming are one piece of code."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from ..errors import KernelDead, SandboxFailed
from ..kernels.kernel import Kernel
from ..protocol.messages import Parts, build, json_object, message_type
from ..relay.calls import LinkError
from ..relay.link import KernelLink
from .outcome import CWD, Outcome, outcome_of

__all__ = ["Job", "Sink", "is_too_much", "run"]

STOP_SECONDS = 5.0
MAX_DISPLAY_BYTES, MAX_DISPLAY_PARTS = 8 * 1024 * 1024, 500_000
"""Of one message that is taken apart: JSON of some MiB can become objects of some hundred."""
UNCOUNTED_BYTES = 1024 * 1024

GUEST_GRACE_SECONDS = 10.0
UNHEEDED = "killed by the gateway, what ran heeded no interrupt after its time, or without its client"
_SAID = ("stream", "display_data", "update_display_data", "execute_result", "error", "clear_output")


@dataclass(frozen=True)
class Job:
    """What is to be run.

    Attributes
    ----------
    in_shell: a command for the sandbox's bash; else code for its kernel.
    timeout: seconds it may take.
    stdin, cwd, env: of this one command; code has none of them.
    """

    text: str
    in_shell: bool
    timeout: float
    stdin: str = ""
    cwd: str = ""
    env: Mapping[str, str] = field(default_factory=dict)


class Sink(Protocol):
    """Takes what a job says, as it says it; must not block and must not raise."""

    def text(self, stream: str, text: str) -> None:
        """Take text of ``stdout`` or ``stderr``."""

    def message(self, msg_type: str, content: Mapping[str, Any]) -> None:
        """Take a display, a result, an error, or an order to clear."""


class _Request:
    """One execute request: a client of its link that hears only what belongs to it.

    ``link`` is set when it may have been sent, ``begun`` when the kernel has taken it up or never will, and ``reply``
    has what it was answered.
    """

    present = False  # a session does not live for its sake as for a connection's: it counts its executions

    def __init__(self, job: Job, sink: Sink, *, in_shell: bool) -> None:
        self._sink = sink
        content: dict[str, Any] = {
            "code": job.text,
            "silent": False,
            "store_history": not in_shell,
            "allow_stdin": False,
            "stop_on_error": False,
            "user_expressions": {} if in_shell else {"cwd": CWD},
        }
        if in_shell:
            options = {"timeout": job.timeout, "stdin": job.stdin, "cwd": job.cwd, "env": dict(job.env)}
            content["sandkasten"] = {name: value for name, value in options.items() if value}
        self.msg_id, self.parts = build("execute_request", content, "exec")
        self._id = self.msg_id.encode()
        self.link: KernelLink | None = None
        self.begun = asyncio.Event()
        self.reply: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    def deliver(self, channel: str, parts: Parts) -> None:
        """Take what the link delivers."""
        if self._id not in parts[1] or self.reply.done():
            return
        if channel == "shell":
            self._answered(json_object(parts[3], MAX_DISPLAY_BYTES))
        elif channel == "iopub":
            self._hear(message_type(parts), parts[3])

    def end(self, reason: str) -> None:
        """The kernel is gone."""
        if not self.reply.done():
            self._answered({"status": "error", "evalue": reason})

    def _answered(self, content: dict[str, Any]) -> None:
        self.reply.set_result(content)
        self.begun.set()

    def _hear(self, msg_type: str | None, data: bytes) -> None:
        if msg_type in ("status", "execute_input"):
            self.begun.set()
        elif msg_type not in _SAID:
            return
        elif is_too_much(data):
            limits = f"{MAX_DISPLAY_BYTES // 2**20} MiB and {MAX_DISPLAY_PARTS} parts"
            self._sink.text("stderr", f"[A {msg_type} is left out: it has more than {limits}.]\n")
        elif msg_type == "stream":
            content = json_object(data, MAX_DISPLAY_BYTES)
            stream = "stderr" if content.get("name") == "stderr" else "stdout"
            self._sink.text(stream, str(content.get("text", "")))
        else:
            self._sink.message(msg_type, json_object(data, MAX_DISPLAY_BYTES))


def is_too_much(data: bytes) -> bool:
    """Return whether a message's content has more than is taken apart; printed text comes in small pieces anyway."""
    if len(data) <= UNCOUNTED_BYTES:
        return False
    return len(data) > MAX_DISPLAY_BYTES or sum(map(data.count, (b",", b"[", b"{"))) > MAX_DISPLAY_PARTS


async def run(kernel: Kernel, job: Job, sink: Sink, tidy: Callable[[Coroutine[Any, Any, None]], None]) -> Outcome:
    """Run a job and return how it ended, when ``sink`` has been given all of it.

    It may wait ``job.timeout`` for the kernel to take it up, which others use too, and then take as long. What exceeds
    that is interrupted, and its process killed where that does not help; nobody else's cell ever is. Whoever cancels
    this ends the job likewise.

    Parameters
    ----------
    tidy: takes the work that is left where a job that was never taken up has to be withdrawn.

    Raises `SandboxFailed` when there is no kernel to ask, `KernelDead` when it is dead.
    """
    in_shell = job.in_shell or kernel.spec.in_guest
    request = _Request(job, sink, in_shell=in_shell)
    began = time.monotonic()
    try:
        try:
            async with asyncio.timeout(job.timeout):
                await _send(kernel, request, in_shell=in_shell)
                await request.begun.wait()
        except TimeoutError:
            sink.text("stderr", f"This was not begun within {job.timeout:g} s: the kernel is busy or does not read.\n")
        else:
            wait = job.timeout + (GUEST_GRACE_SECONDS if in_shell else 0)  # the guest minds a command's time itself
            await asyncio.wait({request.reply}, timeout=wait)
        timed_out = not request.reply.done()
    finally:
        if request.link and not request.begun.is_set():
            tidy(_withdraw(kernel, request.link, request, in_shell=in_shell))
        elif request.link:
            await _stop(kernel, request, in_shell=in_shell)
            request.link.detach(request)
    reply = request.reply.result() if request.reply.done() else {}
    timed_out = timed_out or reply.get("timed_out") is True
    return outcome_of(reply, timed_out, in_shell, round(1000 * (time.monotonic() - began)))


async def _send(kernel: Kernel, request: _Request, *, in_shell: bool) -> None:
    try:
        if not in_shell or kernel.spec.in_guest:
            await kernel.settled()
            kernel.check_alive()
        link = await kernel.shell() if in_shell else kernel.link
        request.link = link
        link.attach(request)
        await link.send(request, "shell", request.parts)
    except LinkError as error:
        request.end(str(error))
        raise SandboxFailed(f"the sandbox cannot be asked: {error}", retry_after=1) from error


async def _withdraw(kernel: Kernel, link: KernelLink, request: _Request, *, in_shell: bool) -> None:
    """Take a request back that the kernel has not begun; where that cannot be done, stop it as soon as it begins."""
    try:
        if not in_shell:
            await request.begun.wait()
        await _stop(kernel, request, in_shell=in_shell)
    finally:
        link.detach(request)


async def _stop(kernel: Kernel, request: _Request, *, in_shell: bool) -> None:
    """End what was begun: interrupt it, and kill its process where that does not help."""
    steps = (
        (partial(kernel.interrupts.stop_command, request.msg_id),)
        if in_shell
        else (kernel.interrupt, partial(kernel.kill, UNHEEDED))
    )
    for step in steps:
        if request.reply.done():
            return
        try:
            await step()
        except (SandboxFailed, KernelDead):
            return
        await asyncio.wait({request.reply}, timeout=STOP_SECONDS)
