"""One persistent bash, driven by file descriptors; knows nothing of messages.

``bash -i`` has a private pty as its controlling terminal and nothing else: stdin, stdout and stderr of each command are
FIFOs of its own, so output is exactly what the command wrote. A command is fed to the pty as one quoted ``eval``; its
exit code comes from ``PROMPT_COMMAND`` over a FIFO that is opened for each report, so that no child holds it. Working
directory, variables, functions and background jobs persist.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import sys
import termios
import time
import tty
from codecs import getincrementaldecoder
from collections.abc import Callable
from typing import NamedTuple

CHUNK = 65536
STEP_SECONDS = 1.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
MAX_LATE = 16
MAX_LATE_BYTES = 1 << 20
READY_SECONDS = 10.0
LOOK_SECONDS = 0.01
DRAIN_READS = 32
_Decoder = getincrementaldecoder("utf-8")


class Outcome(NamedTuple):
    """How a command ended. ``restarted``: bash itself ended and was started again in the same directory."""

    exit_code: int
    cwd: str
    timed_out: bool
    restarted: bool


class Command:
    """One command: its text, its FIFOs, and who takes its output and its outcome."""

    def __init__(
        self,
        text: str,
        on_output: Callable[[str, str], None],
        on_done: Callable[[Outcome], None],
        *,
        stdin: bytes = b"",
        timeout: float | None = None,
    ) -> None:
        self.text = text
        self.on_output = on_output
        self.on_done = on_done
        self.stdin = stdin
        self.timeout = timeout
        self.deadline: float | None = None
        self.signals = 0
        self.timed_out = False
        self.outputs: dict[int, tuple[str, object]] = {}
        self.stdin_fd = -1
        self.late_bytes = 0

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

    def close(self) -> None:
        """Give back every descriptor."""
        for fd in self.outputs:
            os.close(fd)
        self.outputs.clear()
        self.close_stdin()

    def close_stdin(self) -> None:
        """End the command's standard input."""
        if self.stdin_fd >= 0:
            os.close(self.stdin_fd)
            self.stdin_fd = -1


class Shell:
    """Runs one `Command` at a time; the caller waits for `idle` before the next.

    The caller's loop asks `readable` and `writable` for descriptors, calls `ready` for each that is, `tick` at the
    time `patience` says, and `ended` when the process with `pid` has been reaped.
    """

    def __init__(self, directory: str, cwd: str, env: dict[str, str]) -> None:
        self._directory = directory
        self._env = env
        self._cwd = cwd
        self._report_path = f"{directory}/report"
        self._number = 0
        self.pid = 0
        self._master = -1
        self._report = -1
        self._reports = b""
        self._input = b""
        self._expected = ""
        self._command: Command | None = None
        self._next: Command | None = None
        self._late: list[Command] = []
        self._up = False
        self._up_by = 0.0
        self._stdin_look = 0.0
        os.mkdir(directory, 0o700)

    @property
    def idle(self) -> bool:
        """Whether a command can be given to `run`."""
        return self._command is None and self._next is None

    def run(self, command: Command) -> None:
        """Run a command; starts bash when none runs."""
        if not self.pid:
            self._spawn()
        if self._up:
            self._feed(command)
        else:
            self._next = command

    def interrupt(self) -> None:
        """Send SIGINT to what runs in the foreground; nothing when bash waits for a command."""
        if self._command:
            self._signal(signal.SIGINT)
            self._command.signals += 1

    def kill(self) -> None:
        """End bash and what runs in its foreground; a command that runs is done then."""
        if self.pid:
            self._kill_session()

    def readable(self) -> list[int]:
        """Return the descriptors to wait for."""
        commands = [*self._late, *([self._command] if self._command else [])]
        fds = [fd for command in commands for fd in command.outputs]
        return fds + [fd for fd in (self._master, self._report) if fd >= 0]

    def writable(self) -> list[int]:
        """Return the descriptors that something waits to be written to."""
        fds = [self._master] if self._input else []
        if self._command and self._command.stdin_fd >= 0 and self._command.stdin:
            fds.append(self._command.stdin_fd)
        return fds

    def ready(self, fd: int) -> None:
        """Do what a descriptor that is ready allows."""
        if fd == self._master:
            self._discard_notices()
            self._write_input()
        elif fd == self._report:
            self._read_report()
        elif self._command and fd in self._command.outputs:
            self._command.read(fd)
        elif self._command and fd == self._command.stdin_fd:
            self._write_stdin(self._command)
        else:
            self._read_late(fd)

    def patience(self) -> float | None:
        """Return seconds until `tick` is due, None for never."""
        times = [self._up_by] if self.pid and not self._up else []
        if self._command and self._command.stdin_fd >= 0 and not self._command.stdin:
            times.append(self._stdin_look)
        if self._command and self._command.deadline is not None:
            times.append(self._command.deadline)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def tick(self) -> None:
        """Act on what is late: a command gets INT, TERM, KILL a second apart, then bash itself is killed."""
        now = time.monotonic()
        if self.pid and not self._up and now >= self._up_by:
            self._kill_session()
        command = self._command
        if command and command.stdin_fd >= 0 and not command.stdin and now >= self._stdin_look:
            self._end_stdin(command)
        if command is None or command.deadline is None or now < command.deadline:
            return
        step = command.signals if command.timed_out else 0
        command.timed_out = True
        command.signals = step + 1
        command.deadline = now + STEP_SECONDS
        if step < len(SIGNALS):
            self._signal(SIGNALS[step])
        else:
            self._kill_session()

    def ended(self, status: int) -> None:
        """bash has ended with a wait status: what ran in it ends, and the next command starts a new one."""
        self.pid = 0
        self._up = False
        self._input = self._reports = b""
        self._expected = ""
        for fd in (self._master, self._report):
            os.close(fd)
        self._master = self._report = -1
        if self._command:
            code = os.waitstatus_to_exitcode(status)
            self._finish(code if code >= 0 else 128 - code, restarted=True)
        if self._next:
            self._spawn()

    def _spawn(self) -> None:
        self._master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(self._master, False)
        os.set_inheritable(self._master, False)
        self._remake(self._report_path)
        self._report = os.open(self._report_path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        prompt = {"PROMPT_COMMAND": f'printf "%s\\n" "$?" >{self._report_path}', "PS1": "", "PS2": "", "PS0": ""}
        actions = [(os.POSIX_SPAWN_OPEN, fd, os.ttyname(slave), os.O_RDWR, 0) for fd in (0, 1, 2)]
        try:
            os.chdir(self._cwd)
        except OSError:
            os.chdir("/")
        try:
            self.pid = os.posix_spawn(
                "/bin/bash",
                ["bash", "--noprofile", "--norc", "--noediting", "-i", "+H"],
                {**self._env, **prompt},
                file_actions=actions,
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
            )
        finally:
            os.close(slave)
            os.chdir("/")
        self._up = False
        self._up_by = time.monotonic() + READY_SECONDS

    def _feed(self, command: Command) -> None:
        self._command = command
        self._number += 1
        paths = {name: f"{self._directory}/{self._number}-{name}" for name in ("in", "out", "err")}
        for name, stream in (("out", "stdout"), ("err", "stderr")):
            os.mkfifo(paths[name], 0o600)
            fd = os.open(paths[name], os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            command.outputs[fd] = (stream, _Decoder("replace"))
        source = "/dev/null"
        if command.stdin:
            source = paths["in"]
            os.mkfifo(source, 0o600)
            command.stdin_fd = os.open(source, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        quoted = command.text.replace("'", "'\\''")
        line = f"eval '{quoted}' <{source} >{paths['out']} 2>{paths['err']}\n"
        self._input += line.encode("utf-8", "surrogatepass")
        if command.timeout is not None:
            command.deadline = time.monotonic() + command.timeout
        self._write_input()

    def _write_input(self) -> None:
        try:
            while self._input:
                self._input = self._input[os.write(self._master, self._input[:4096]) :]
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.EIO:
                raise

    def _write_stdin(self, command: Command) -> None:
        try:
            command.stdin = command.stdin[os.write(command.stdin_fd, command.stdin[:CHUNK]) :]
        except BlockingIOError:
            return
        if not command.stdin:
            self._stdin_look = time.monotonic() + LOOK_SECONDS

    def _end_stdin(self, command: Command) -> None:
        """End the standard input once all of it was read: data in a FIFO that nobody holds open would be lost."""
        unread = bytearray(4)
        fcntl.ioctl(command.stdin_fd, termios.FIONREAD, unread)
        if int.from_bytes(unread, sys.byteorder):
            self._stdin_look = time.monotonic() + LOOK_SECONDS
        else:
            command.close_stdin()

    def _discard_notices(self) -> None:
        """Take bash's own words (``[1] 123``, ``exit``): they are not the command's output."""
        try:
            while os.read(self._master, CHUNK):
                pass
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.EIO:
                raise

    def _read_report(self) -> None:
        try:
            self._reports += os.read(self._report, CHUNK)
        except BlockingIOError:
            return
        *lines, self._reports = self._reports.split(b"\n")
        for line in lines:
            self._reported(line.decode("ascii", "replace"))

    def _reported(self, line: str) -> None:
        if self._expected:
            if line == self._expected:
                self._expected = "-"
            elif self._expected == "-":
                self._expected = ""
                self._become_up()
        elif not self._up:
            self._become_up()
        elif self._command and line.isdigit():
            signalled, code = self._command.signals, int(line)
            self._finish(code, restarted=False)
            if signalled:
                self._synchronize(code)

    def _become_up(self) -> None:
        self._up = True
        command, self._next = self._next, None
        if command:
            self._feed(command)

    def _synchronize(self, code: int) -> None:
        """Let pass the report of a signal that came when the command had ended already."""
        self._up = False
        self._up_by = time.monotonic() + READY_SECONDS
        self._number += 1
        self._expected = f"sync-{self._number}"
        self._input += f"printf '%s\\n' {self._expected} >{self._report_path}; (exit {code})\n".encode()
        self._write_input()

    def _finish(self, code: int, *, restarted: bool) -> None:
        command, self._command = self._command, None
        assert command
        for fd in list(command.outputs):
            for _ in range(DRAIN_READS):  # a background job may write faster than we read
                if not command.read(fd):
                    break
        command.close_stdin()
        for name in ("in", "out", "err"):
            try:
                os.unlink(f"{self._directory}/{self._number}-{name}")
            except OSError:
                pass
        self._cwd = self._directory_of_bash()
        if command.outputs:
            self._late.append(command)
            if len(self._late) > MAX_LATE:
                self._late.pop(0).close()
        command.on_done(Outcome(-1 if command.timed_out else code, self._cwd, command.timed_out, restarted))

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

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(os.tcgetpgrp(self._master), number)
        except OSError:
            pass

    def _kill_session(self) -> None:
        for target in (self._foreground(), self.pid):
            try:
                os.killpg(target, signal.SIGKILL)
            except OSError:
                pass

    def _foreground(self) -> int:
        try:
            return os.tcgetpgrp(self._master)
        except OSError:
            return self.pid

    @staticmethod
    def _remake(path: str) -> None:
        try:
            if not stat.S_ISFIFO(os.lstat(path).st_mode):
                os.unlink(path)
                os.mkfifo(path, 0o600)
        except FileNotFoundError:
            os.mkfifo(path, 0o600)
