"""One persistent bash, driven by file descriptors; knows nothing of messages.

``bash -i`` has a private pty as its controlling terminal and nothing else: stdin, stdout and stderr of each command are
pipes of its own, so output is exactly what the command wrote. Working directory, variables, functions and background
jobs persist. How bash is spoken to is told in `driver`.
"""

from __future__ import annotations

import os
import signal
import termios
import time
import tty
from typing import Any

from . import driver
from .command import CHUNK, DRAIN_READS, Command, Outcome
from .foreground import Foreground
from .supervisor import raise_oom_score

AT_ONCE_SECONDS = 0.001
STEP_SECONDS = 1.0
SIGNALS = (signal.SIGTERM, signal.SIGKILL)
MAX_LATE = 16
MAX_LATE_BYTES = 1 << 20
READY_SECONDS = 10.0
ATTEMPTS = 2
ARGV = ("bash", "--noprofile", "--norc", "--noediting", "-i", "+H", "-O", "execfail")


class Shell:
    """Runs one `Command` at a time; the caller waits for `idle` before the next.

    The caller's loop asks `readable` and `writable` for descriptors, calls `ready` for each that is, `tick` at the
    time `patience` says, and `ended` when the process with `pid` has been reaped.
    """

    def __init__(self, cwd: str, env: dict[str, str]) -> None:
        self.env = env
        self._cwd = cwd
        self._number = 0
        self._status = 0
        self.pid = 0
        self._master = -1
        self._stdout = -1
        self._said = b""
        self._raw: list[Any] = []
        self._reports = driver.Reports()
        self._input = b""
        self._command: Command | None = None
        self._next: Command | None = None
        self._late: list[Command] = []
        self._up = False
        self._up_by = 0.0
        self._foreground = Foreground(-1, 0)

    @property
    def idle(self) -> bool:
        """Whether a command can be given to `run`."""
        return self._command is None and self._next is None

    @property
    def cwd(self) -> str:
        """Where bash is, as far as it can be seen."""
        return self._directory_of_bash()

    def run(self, command: Command) -> None:
        """Run a command; starts bash when none runs."""
        self._next = command
        if not self.pid:
            self._spawn()
        elif self._up:
            self._feed()

    def interrupt(self) -> None:
        """Send SIGINT to what runs in the foreground; nothing when bash waits for a command."""
        if self._command:
            self._command.signals += 1
            if self._command.begun:
                self._foreground.interrupt()

    def stop(self) -> None:
        """End what runs in the foreground, as if its time were over; bash lives on where it can."""
        for command in (self._command, self._next):
            if command:
                command.timeout = AT_ONCE_SECONDS
                command.deadline = time.monotonic()

    def kill(self) -> None:
        """End bash and what runs in its foreground; a command that runs is done then."""
        if self.pid:
            self._foreground.kill_all()

    def readable(self) -> list[int]:
        """Return the descriptors to wait for."""
        commands = [*self._late, *([self._command] if self._command else [])]
        fds = [fd for command in commands for fd in command.outputs]
        return [*fds, self._master, self._stdout] if self._master >= 0 else fds

    def writable(self) -> list[int]:
        """Return the descriptors that something waits to be written to."""
        fds = [self._master] if self._input else []
        return fds + self._command.writable() if self._command else fds

    def ready(self, fd: int) -> None:
        """Do what a descriptor that is ready allows."""
        command = self._command
        if fd == self._master:
            self._listen()
            self._write_input()
        elif fd == self._stdout:
            self._said = (self._said + _available(fd))[-driver.MAX_WORDS :]
        elif command and fd in command.outputs:
            command.read(fd)
        elif command and fd in command.writable():
            command.write(fd)
        else:
            self._read_late(fd)

    def patience(self) -> float | None:
        """Return seconds until `tick` is due, None for never."""
        times = [self._up_by] if self._awaited else []
        if self._command and self._command.begun:
            times += [due for due in (self._command.deadline, self._foreground.due) if due is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def tick(self) -> None:
        """Act on what is late: a command gets INT, TERM, KILL a second apart, then bash itself is killed."""
        now = time.monotonic()
        if self._awaited and now >= self._up_by:
            self._foreground.kill_all()
        command = self._command
        if command is None or not command.begun:
            return
        self._foreground.look()
        if command.deadline is None or now < command.deadline:
            return
        step = command.signals if command.timed_out else 0
        command.timed_out = True
        command.signals = step + 1
        command.deadline = now + STEP_SECONDS
        if step == 0:
            self._foreground.interrupt()
        elif step <= len(SIGNALS):
            self._foreground.signal(SIGNALS[step - 1])
        else:
            self._foreground.kill_all()

    def ended(self, status: int) -> None:
        """bash has ended with a wait status: what ran in it ends, and the next command starts a new one."""
        for _ in range(DRAIN_READS):
            if not self._listen():
                break
        self.pid = self._status = 0
        self._up = False
        self._input = b""
        said = self._said + _available(self._stdout), self._reports.words
        for fd in (self._master, self._stdout):
            os.close(fd)
        self._master = self._stdout = -1
        self._foreground = Foreground(-1, 0)
        if self._command:
            code = os.waitstatus_to_exitcode(status)
            self._command.restarted = True
            if self._command.begun:
                self._command.last_words = said
            self._finish(code if code >= 0 else 128 - code)
        elif self._next:
            self._next.restarted = True
            self._spawn()

    @property
    def _awaited(self) -> bool:
        """Whether bash owes us a word: that it is up, or that the command begins."""
        return bool(self.pid and (not self._up or (self._command and not self._command.begun)))

    def _spawn(self) -> None:
        """Start bash for the command that waits, and fail that in words when it cannot be started."""
        assert self._next
        self._next.attempts += 1
        if self._next.attempts > ATTEMPTS:
            self._refuse("bash ends before it is ready: /tmp or the memory may be full. Restart the kernel.")
            return
        self._reports = driver.Reports()
        try:
            self._start_bash()
        except OSError as error:
            self._refuse(
                f"bash cannot be started: {error.strerror}. The sandbox may have no process or file left: "
                "end some, or restart the kernel."
            )
            return
        self._number = 0
        self._up = False
        self._up_by = time.monotonic() + READY_SECONDS
        self._input = driver.greeting(self._reports.nonce)
        self._write_input()

    def _start_bash(self) -> None:
        master, slave = os.openpty()
        stdout, own = os.pipe2(os.O_CLOEXEC)
        try:
            tty.setraw(slave)
            self._raw = termios.tcgetattr(slave)
            os.set_blocking(master, False)
            os.set_blocking(stdout, False)
            terminal = [(os.POSIX_SPAWN_OPEN, fd, os.ttyname(slave), os.O_RDWR, 0) for fd in (0, 2)]
            try:
                os.chdir(self._cwd)
            except OSError:
                os.chdir("/")
            self.pid = os.posix_spawn(
                "/bin/bash",
                ARGV,
                self.env,
                file_actions=[*terminal, (os.POSIX_SPAWN_DUP2, own, 1)],
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
            )
        except OSError:
            os.close(master)
            os.close(stdout)
            raise
        finally:
            os.close(slave)
            os.close(own)
            os.chdir("/")
        self._master, self._stdout = master, stdout
        self._foreground = Foreground(master, self.pid)

    def _feed(self) -> None:
        """Give the command that waits to bash, which stands at its prompt."""
        command, self._next = self._next, None
        assert command
        try:
            pipes = driver.open_pipes(self.pid)
        except OSError:  # a ulimit or an option of the user's keeps bash from making them
            self._next = command
            self._up = False
            self._foreground.kill_all()
            return
        _available(self._stdout)
        self._said = b""  # what bash says from here on belongs to this command, also before its first report is read
        self._command = command
        self._number += 1
        self._up_by = time.monotonic() + READY_SECONDS
        script = driver.script(
            self._reports.nonce,
            self._number,
            command.text,
            self._status,
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
        self._write_input()

    def _write_input(self) -> None:
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
                self._reported(report.code)
        return bool(data)

    def _reported(self, code: int | None) -> None:
        command = self._command
        if code is None:
            if command and not command.begun:
                self._begin(command)
        elif not self._up:
            self._up = True
            raise_oom_score(self.pid)
            if self._next:
                self._feed()
        elif command:
            self._status = code
            self._finish(code)

    def _begin(self, command: Command) -> None:
        command.begun = True
        if command.timeout is not None:
            command.deadline = time.monotonic() + command.timeout
        if command.signals:
            self._foreground.interrupt()

    def _finish(self, code: int) -> None:
        command, self._command = self._command, None
        assert command
        self._foreground.settle()
        command.drain()
        self._cwd = self._directory_of_bash()
        if command.outputs:
            self._late.append(command)
            if len(self._late) > MAX_LATE:
                self._late.pop(0).close()
        command.on_done(Outcome(-1 if command.timed_out else code, self._cwd, command.timed_out, command.restarted))

    def _refuse(self, words: str) -> None:
        command, self._next = self._next, None
        assert command
        command.on_done(Outcome(-1, self._cwd, False, command.restarted, words))

    def _read_late(self, fd: int) -> None:
        for command in self._late:
            if fd in command.outputs:
                command.read(fd)
                command.late_bytes += CHUNK
                if command.late_bytes > MAX_LATE_BYTES:
                    command.close()
        self._late = [command for command in self._late if command.outputs]

    def _directory_of_bash(self) -> str:
        try:
            return os.readlink(f"/proc/{self.pid}/cwd") if self.pid else self._cwd
        except OSError:
            return self._cwd


def _available(fd: int) -> bytes:
    """Return what can be read at once, at most `CHUNK` bytes; nothing where the other side is gone."""
    try:
        return os.read(fd, CHUNK)
    except OSError:
        return b""
