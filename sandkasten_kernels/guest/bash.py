"""One process of bash's, from its start to its end: its terminal, what is typed there, and what it says.

``bash -i`` has a private pty as its controlling terminal and nothing else. What is said between it and us is told in
`driver`.
"""

from __future__ import annotations

import os
import signal
import termios
import tty
from collections.abc import Callable
from typing import Any

from . import driver
from .command import CHUNK, DRAIN_READS, Command
from .foreground import Foreground

ARGV = ("bash", "--noprofile", "--norc", "--noediting", "-i", "+H", "-O", "execfail")


class Bash:
    """Starts bash, and runs a command at its prompt. Owns its descriptors; `close` gives them back.

    ``status`` is what ``$?`` is when the next command begins.

    Parameters
    ----------
    cwd, env: where and with which variables it starts; at the root when it cannot be there. Raises `OSError`.
    on_report: called when a command begins, with None, and when bash stands at its prompt, with ``$?``.
    """

    def __init__(self, cwd: str, env: dict[str, str], on_report: Callable[[int | None], None]) -> None:
        self._on_report = on_report
        self._reports = driver.Reports()
        self._number = 0
        self._said = b""
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

    def run(self, command: Command) -> None:
        """Give a command to bash, which stands at its prompt; `OSError` when its pipes are not there."""
        pipes = driver.open_pipes(self.pid)
        _available(self._stdout)
        self._said = b""  # what bash says from here on belongs to this command, also before its first report is read
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
            termios.tcsetattr(self._master, termios.TCSANOW, self._raw)  # a command may have changed it
        except termios.error:
            return  # bash has just ended
        self._input += driver.LINE
        self._type()

    def readable(self) -> list[int]:
        """Return the descriptors to wait for."""
        return [self._master, self._stdout]

    def writable(self) -> list[int]:
        """Return the terminal while something waits to be typed."""
        return [self._master] if self._input else []

    def ready(self, fd: int) -> None:
        """Do what a descriptor that is ready allows."""
        if fd == self._master:
            self._listen()
            self._type()
        else:
            self._said = (self._said + _available(fd))[-driver.MAX_WORDS :]

    def last_words(self) -> tuple[bytes, bytes]:
        """Return what bash, which has ended, had to say since its last command began, on stdout and on its terminal."""
        for _ in range(DRAIN_READS):
            if not self._listen():
                break
        return self._said + _available(self._stdout), self._reports.words

    def close(self) -> None:
        """Give the descriptors back."""
        for fd in (self._master, self._stdout):
            os.close(fd)

    def _type(self) -> None:
        try:
            while self._input:
                self._input = self._input[os.write(self._master, self._input) :]
        except OSError:  # full for now, or bash has just ended
            pass

    def _listen(self) -> bool:
        """Take what is said on the pty, reports and bash's own words; False when nothing is."""
        data = _available(self._master)
        for report in self._reports.feed(data):
            if report.number == self._number:
                self._on_report(report.code)
        return bool(data)


def _available(fd: int) -> bytes:
    """Return what can be read at once, at most `CHUNK` bytes; nothing where the other side is gone."""
    try:
        return os.read(fd, CHUNK)
    except OSError:
        return b""
