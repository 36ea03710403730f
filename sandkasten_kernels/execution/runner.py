"""Runs one piece of code or one command, and passes its output to a sink that collects or streams it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from ..errors import KernelDead, SandboxFailed
from ..kernels import Kernel
from ..protocol import Parts, build, json_object, message_type
from ..relay import KernelLink, LinkError
from .outcome import CWD, Outcome, outcome_of

__all__ = ["Job", "Sink", "is_too_much", "run"]

STOP_SECONDS = 5.0
MAX_DISPLAY_BYTES, MAX_DISPLAY_PARTS = 8 * 1024 * 1024, 500_000
"""Limits of a message that is parsed: some MiB of JSON can become some hundred MiB of objects."""
UNCOUNTED_BYTES = 1024 * 1024
"""A message up to this size is parsed without counting its parts."""

GUEST_GRACE_SECONDS = 10.0
KILL_REASON = "killed by the gateway: the code ignored an interrupt after its timeout, or after its client had left"
_OUTPUT_TYPES = ("stream", "display_data", "update_display_data", "execute_result", "error", "clear_output")


@dataclass(frozen=True)
class Job:
    """One piece of code or one command.

    Attributes
    ----------
    in_shell: True for a command of the sandbox's bash, False for code of its kernel.
    timeout: in seconds; a job may also wait as long before it starts.
    stdin, cwd, env: for this command only; ignored for code.
    """

    text: str
    in_shell: bool
    timeout: float
    stdin: str = ""
    cwd: str = ""
    env: Mapping[str, str] = field(default_factory=dict)


class Sink(Protocol):
    """Receives the output of a job while it runs. The methods must not block and must not raise."""

    def text(self, stream: str, text: str) -> None:
        """Receive text of ``stdout`` or ``stderr``."""

    def message(self, msg_type: str, content: Mapping[str, Any]) -> None:
        """Receive a display, a result, an error, or ``clear_output``."""


class _Request:
    """One execute request: a client of the link that ignores messages of other requests.

    Attributes
    ----------
    link: set before the request is sent, so that a cancelled send is withdrawn too.
    begun: set when the kernel has begun the request, or has answered it without beginning it.
    reply: content of the reply.
    """

    present = False  # a session that executes stays alive by its count of executions, not as for a connection

    def __init__(self, job: Job, sink: Sink, *, in_shell: bool) -> None:
        self._sink = sink
        content: dict[str, Any] = {
            "code": job.text,
            "silent": False,
            "store_history": not in_shell,
            # no client of these routes can answer input(): it fails at once instead of waiting
            "allow_stdin": False,
            # an error would abort the requests of other clients that wait behind this one
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
        """Receive a message from the link."""
        # A search in the bytes is enough: the id is random, and parsing every parent header costs more.
        if self._id not in parts[1] or self.reply.done():
            return
        if channel == "shell":
            self._answered(json_object(parts[3], MAX_DISPLAY_BYTES))
        elif channel == "iopub":
            self._on_iopub(message_type(parts), parts[3])

    def end(self, reason: str) -> None:
        """Answer with an error: the kernel is gone."""
        if not self.reply.done():
            self._answered({"status": "error", "evalue": reason})

    def _answered(self, content: dict[str, Any]) -> None:
        self.reply.set_result(content)
        self.begun.set()

    def _on_iopub(self, msg_type: str | None, data: bytes) -> None:
        if msg_type in ("status", "execute_input"):
            self.begun.set()
        elif msg_type not in _OUTPUT_TYPES:
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
    """Return whether a message's content is above the limits for parsing; printed text comes in small pieces anyway."""
    if len(data) <= UNCOUNTED_BYTES:
        return False
    # counted in the bytes: parsing is what has to be avoided
    return len(data) > MAX_DISPLAY_BYTES or sum(map(data.count, (b",", b"[", b"{"))) > MAX_DISPLAY_PARTS


async def run(kernel: Kernel, job: Job, sink: Sink, tidy: Callable[[Coroutine[Any, Any, None]], None]) -> Outcome:
    """Run a job and return how it ended, after ``sink`` has received all of its output.

    The job may wait ``job.timeout`` seconds for the kernel, which other clients use too, and then run as long. After
    that it is interrupted, and its process is killed if it ignores the interrupt. Jobs of other clients are never
    interrupted. Cancellation ends the job in the same way.

    Parameters
    ----------
    tidy: runs a coroutine in the background, which withdraws a job that the kernel has not begun.

    Raises `SandboxFailed` when kernel or shell cannot be reached, `KernelDead` when the kernel is dead.
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
            # The guest itself ends a command at its timeout; the gateway does so only if the guest does not.
            wait = job.timeout + (GUEST_GRACE_SECONDS if in_shell else 0)
            await asyncio.wait({request.reply}, timeout=wait)
        timed_out = not request.reply.done()
    finally:
        # A request that has not begun waits behind other cells, perhaps for long: the caller must not wait for that.
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
        # before sending: output may arrive before `send` returns
        link.attach(request)
        await link.send(request, "shell", request.parts)
    except LinkError as error:
        request.end(str(error))
        raise SandboxFailed(f"the sandbox cannot be reached: {error}", retry_after=1) from error


async def _withdraw(kernel: Kernel, link: KernelLink, request: _Request, *, in_shell: bool) -> None:
    """Withdraw a request that has not begun. A kernel cannot do that: its code is stopped as soon as it begins."""
    try:
        if not in_shell:
            await request.begun.wait()
        await _stop(kernel, request, in_shell=in_shell)
    finally:
        link.detach(request)


async def _stop(kernel: Kernel, request: _Request, *, in_shell: bool) -> None:
    """End a request that has begun: interrupt it, then kill its process if it ignores the interrupt."""
    steps = (
        (partial(kernel.interrupts.stop_command, request.msg_id),)
        if in_shell
        else (kernel.interrupt, partial(kernel.kill, KILL_REASON))
    )
    for step in steps:
        if request.reply.done():
            return
        try:
            await step()
        except (SandboxFailed, KernelDead):
            return
        await asyncio.wait({request.reply}, timeout=STOP_SECONDS)
