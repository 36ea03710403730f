"""Bash: one bash process with its terminal.

``bash -i`` has a private pty as its controlling terminal, and nothing else. `driver` describes the protocol between it
and the guest.
"""

from __future__ import annotations

import os
import signal
import termios
import tty
from collections.abc import Callable
from typing import Any

from . import driver
from .command import CHUNK, DRAIN_READS, ShellCommand
from .foreground import Foreground

ARGV = ("bash", "--noprofile", "--norc", "--noediting", "-i", "+H", "-O", "execfail")


class Bash:
    """Starts bash, and runs a command at its prompt. Owns its descriptors until `close`.

    Parameters
    ----------
    cwd: the directory in which bash starts; ``/`` when bash cannot enter it.
    env: its environment variables.
    on_report: called with None when a command begins, and with ``$?`` when bash is at its prompt.

    Attributes
    ----------
    status: the value of ``$?`` when the next command begins.

    Raises `OSError` when bash cannot be started.
    """

    def __init__(self, cwd: str, env: dict[str, str], on_report: Callable[[int | None], None]) -> None:
        self._on_report = on_report
        self._reports = driver.Reports()
        self._number = 0
        self._notices = b""
        self.status = 0
        self._master, slave = os.openpty()
        self._stdout, own = os.pipe2(os.O_CLOEXEC)
        try:
            tty.setraw(slave)
            self._raw: list[Any] = termios.tcgetattr(slave)
            for fd in (self._master, self._stdout):
                os.set_blocking(fd, False)
            terminal = [(os.POSIX_SPAWN_OPEN, fd, os.ttyname(slave), os.O_RDWR, 0) for fd in (0, 2)]
            try:
                os.chdir(cwd)
            except OSError:
                os.chdir("/")
            self.pid = os.posix_spawn(
                "/bin/bash",
                ARGV,
                env,
                file_actions=[*terminal, (os.POSIX_SPAWN_DUP2, own, 1)],
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
            )
        except OSError:
            self.close()
            raise
        finally:
            os.close(slave)
            os.close(own)
            os.chdir("/")
        self.foreground = Foreground(self._master, self.pid)
        self._input = driver.greeting(self._reports.nonce)
        self._type()

    def run(self, command: ShellCommand) -> None:
        """Pass a command to bash, which must be at its prompt. Raises `OSError` when its pipes are missing."""
        pipes = driver.open_pipes(self.pid)
        _available(self._stdout)
        self._notices = b""  # notices of bash from here on belong to this command, also those ahead of its first report
        self._number += 1
        script = driver.script(
            self._reports.nonce,
            self._number,
            command.text,
            self.status,
            stdin=bool(command.stdin),
            cwd=command.cwd,
            env=command.env,
        )
        command.connect(pipes, script)
        try:
            termios.tcsetattr(self._master, termios.TCSANOW, self._raw)  # a command may have changed the mode
        except termios.error:
            return  # bash has just ended
        self._input += driver.LINE
        self._type()

    def readable(self) -> list[int]:
        """Return the descriptors to wait for."""
        return [self._master, self._stdout]

    def writable(self) -> list[int]:
        """Return the terminal while input waits to be written to it."""
        return [self._master] if self._input else []

    def ready(self, fd: int) -> None:
        """Read from or write to a descriptor that is ready."""
        if fd == self._master:
            self._listen()
            self._type()
        else:
            self._notices = (self._notices + _available(fd))[-driver.MAX_NOTICE_BYTES :]

    def exit_output(self) -> tuple[bytes, bytes]:
        """Return the output of bash, which has ended, since its last command began: on stdout, and on its terminal."""
        for _ in range(DRAIN_READS):
            if not self._listen():
                break
        return self._notices + _available(self._stdout), self._reports.notices

    def close(self) -> None:
        """Close the descriptors."""
        for fd in (self._master, self._stdout):
            os.close(fd)

    def _type(self) -> None:
        try:
            while self._input:
                self._input = self._input[os.write(self._master, self._input) :]
        except OSError:  # full for now, or bash has just ended
            pass

    def _listen(self) -> bool:
        """Read the pty: reports and notices of bash. Return False when there was nothing to read."""
        data = _available(self._master)
        for report in self._reports.feed(data):
            if report.number == self._number:
                self._on_report(report.code)
        return bool(data)


def _available(fd: int) -> bytes:
    """Read without waiting, at most `CHUNK` bytes; return b"" for no data and for a closed other end."""
    try:
        return os.read(fd, CHUNK)
    except OSError:
        return b""
