"""One command of the shell's: its text, the guest's ends of its pipes, and who takes its output and its outcome."""

from __future__ import annotations

import os
from codecs import getincrementaldecoder
from collections.abc import Callable, Mapping
from typing import NamedTuple

from .driver import Pipes

CHUNK = 65536
DRAIN_READS = 32
_Decoder = getincrementaldecoder("utf-8")


class CommandResult(NamedTuple):
    """How a command ended.

    ``restarted``: bash itself ended and was started again in the same directory. ``error``: why the command could not
    be run, and the way out; empty when it was.
    """

    exit_code: int
    cwd: str
    timed_out: bool
    restarted: bool
    error: str = ""


class Command:
    """One command, from its text to its outcome.

    Parameters
    ----------
    on_output: called with ``stdout`` or ``stderr`` and a text.
    on_done: called once, after the output; only a background job's may follow.
    stdin: what the command reads; nothing else stands there.
    timeout: seconds after which it is ended.
    cwd: a directory for this command alone.
    env: variables for this command alone.
    """

    def __init__(
        self,
        text: str,
        on_output: Callable[[str, str], None],
        on_done: Callable[[CommandResult], None],
        *,
        stdin: bytes = b"",
        timeout: float | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.text = text
        self.on_output = on_output
        self.on_done = on_done
        self.stdin = stdin
        self.timeout = timeout
        self.cwd = cwd
        self.env = env or {}
        self.begun = False
        self.deadline: float | None = None
        self.signals = 0
        self.timed_out = False
        self.restarted = False
        self.attempts = 0
        self.outputs: dict[int, tuple[str, object]] = {}
        self.last_words = (b"", b"")
        self.late_bytes = 0
        self._sinks: dict[int, bytes] = {}

    def connect(self, pipes: Pipes, script: bytes) -> None:
        """Take the pipes; ``script`` is what bash is to read from its own."""
        self.outputs = {pipes.out: ("stdout", _Decoder("replace")), pipes.err: ("stderr", _Decoder("replace"))}
        self._sinks = {pipes.stdin: self.stdin, pipes.text: script}
        for fd in (pipes.text, pipes.stdin):
            self.write(fd)

    def writable(self) -> list[int]:
        """Return the descriptors that something waits to be written to."""
        return list(self._sinks)

    def write(self, fd: int) -> None:
        """Write what a pipe takes; after the last of it the pipe is closed, so that its reader comes to the end."""
        data = self._sinks[fd]
        try:
            data = data[os.write(fd, data[:CHUNK]) :] if data else data
        except BlockingIOError:
            return
        self._sinks[fd] = data
        if not data:
            os.close(fd)
            del self._sinks[fd]

    def read(self, fd: int) -> bool:
        """Pass on what one of the outputs has; False when it has nothing more for now or for good."""
        name, decoder = self.outputs[fd]
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return False
        text = decoder.decode(data, final=not data)  # type: ignore[attr-defined]
        if text:
            self.on_output(name, text)
        if not data:
            os.close(fd)
            del self.outputs[fd]
        return bool(data)

    def drain(self) -> None:
        """Pass on what is there, and end what was not read: the command has ended, background jobs may hold on."""
        for fd in list(self.outputs):
            for _ in range(DRAIN_READS):  # a background job may write faster than we read
                if not self.read(fd):
                    break
        for name, words in zip(("stdout", "stderr"), self.last_words, strict=True):
            if words:  # an EXIT trap's: bash runs it when the command's own pipes are gone
                self.on_output(name, words.decode("utf-8", "replace"))
        self._close_sinks()

    def close(self) -> None:
        """Give back every descriptor."""
        for fd in self.outputs:
            os.close(fd)
        self.outputs.clear()
        self._close_sinks()

    def _close_sinks(self) -> None:
        for fd in self._sinks:
            os.close(fd)
        self._sinks.clear()
