"""Command: one command of the shell, with its options, pipes and callbacks."""

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

    ``exit_code``: -1 for a command that timed out or did not run. ``restarted``: bash itself ended, and the next
    command starts a new one in the same directory. ``error``: why the command did not run, and the way out; empty if it
    ran.
    """

    exit_code: int
    cwd: str
    timed_out: bool
    restarted: bool
    error: str = ""


class ShellCommand:
    """One command, from its text to its result.

    Parameters
    ----------
    on_output: called with ``stdout`` or ``stderr``, and a string.
    on_done: called once, after the output. Only output of background jobs may follow.
    stdin: the whole input of the command.
    timeout: seconds after which the command is stopped.
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
        self.exit_output = (b"", b"")
        self.late_bytes = 0
        self._sinks: dict[int, bytes] = {}

    def connect(self, pipes: Pipes, script: bytes) -> None:
        """Take the pipes. ``script``: the text that bash reads from its own pipe."""
        self.outputs = {pipes.out: ("stdout", _Decoder("replace")), pipes.err: ("stderr", _Decoder("replace"))}
        self._sinks = {pipes.stdin: self.stdin, pipes.text: script}
        for fd in (pipes.text, pipes.stdin):
            self.write(fd)

    def writable(self) -> list[int]:
        """Return the descriptors for which data waits."""
        return list(self._sinks)

    def write(self, fd: int) -> None:
        """Write what fits into a pipe. After the last byte close it, so that its reader gets the end of file."""
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
        """Read one of the outputs and pass it on; return False when there is nothing more, for now or at its end."""
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
        """Pass on the remaining output, and close the inputs: the command has ended.

        Background jobs may hold the outputs.
        """
        for fd in list(self.outputs):
            for _ in range(DRAIN_READS):  # a background job may write faster than this reads
                if not self.read(fd):
                    break
        for name, data in zip(("stdout", "stderr"), self.exit_output, strict=True):
            if data:  # of an EXIT trap, which bash runs after it has closed the command's own pipes
                self.on_output(name, data.decode("utf-8", "replace"))
        self._close_sinks()

    def close(self) -> None:
        """Close every descriptor."""
        for fd in self.outputs:
            os.close(fd)
        self.outputs.clear()
        self._close_sinks()

    def _close_sinks(self) -> None:
        for fd in self._sinks:
            os.close(fd)
        self._sinks.clear()
