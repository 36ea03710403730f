"""One persistent bash, driven by file descriptors; knows nothing of messages.

stdin, stdout and stderr of each command are pipes of its own, so output is exactly what the command wrote. Working
directory, variables, functions and background jobs persist; where bash itself ends, the next one has its directory.
"""

from __future__ import annotations

import os
import signal
import time

from .bash import Bash
from .child_process import directory_of, raise_oom_score
from .command import Command, CommandResult
from .late_output import LateOutput

AT_ONCE_SECONDS = 0.001
STEP_SECONDS = 1.0
SIGNALS = (signal.SIGTERM, signal.SIGKILL)
READY_SECONDS = 10.0
ATTEMPTS = 2


class Shell:
    """Runs one `Command` at a time; the caller waits for `idle` before the next.

    The caller's loop asks `readable` and `writable` for descriptors, calls `ready` for each that is, `tick` at the
    time `patience` says, and `ended` when the process with `pid` has been reaped.
    """

    def __init__(self, cwd: str, env: dict[str, str]) -> None:
        self.env = env
        self._cwd = cwd
        self._bash: Bash | None = None
        self._command: Command | None = None
        self._next: Command | None = None
        self._late = LateOutput()
        self._up = False
        self._up_by = 0.0

    @property
    def pid(self) -> int:
        """The process id of bash, 0 while none runs."""
        return self._bash.pid if self._bash else 0

    @property
    def idle(self) -> bool:
        """Whether a command can be given to `run`."""
        return self._command is None and self._next is None

    @property
    def cwd(self) -> str:
        """Where bash is, as far as it can be seen."""
        return directory_of(self.pid) or self._cwd

    def run(self, command: Command) -> None:
        """Run a command; starts bash when none runs."""
        self._next = command
        if not self._bash:
            self._spawn()
        elif self._up:
            self._feed(self._bash)

    def interrupt(self) -> None:
        """Send SIGINT to what runs in the foreground; nothing when bash waits for a command."""
        if self._command:
            self._command.signals += 1
            if self._command.begun and self._bash:
                self._bash.foreground.interrupt()

    def stop(self) -> None:
        """End what runs in the foreground, as if its time were over; bash lives on where it can."""
        for command in (self._command, self._next):
            if command:
                command.timeout = AT_ONCE_SECONDS
                command.deadline = time.monotonic()

    def kill(self) -> None:
        """End bash and what runs in its foreground; a command that runs is done then."""
        if self._bash:
            self._bash.foreground.kill_all()

    def readable(self) -> list[int]:
        """Return the descriptors to wait for."""
        fds = self._late.readable()
        fds += self._command.outputs if self._command else []
        return fds + self._bash.readable() if self._bash else fds

    def writable(self) -> list[int]:
        """Return the descriptors that something waits to be written to."""
        fds = self._bash.writable() if self._bash else []
        return fds + self._command.writable() if self._command else fds

    def ready(self, fd: int) -> None:
        """Do what a descriptor that is ready allows."""
        command = self._command
        if self._bash and fd in self._bash.readable():
            self._bash.ready(fd)
        elif command and fd in command.outputs:
            command.read(fd)
        elif command and fd in command.writable():
            command.write(fd)
        else:
            self._late.read(fd)

    def patience(self) -> float | None:
        """Return seconds until `tick` is due, None for never."""
        times = [self._up_by] if self._awaited else []
        if self._bash and self._command and self._command.begun:
            times += [due for due in (self._command.deadline, self._bash.foreground.due) if due is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def tick(self) -> None:
        """Act on what is late: a command gets INT, TERM, KILL a second apart, then bash itself is killed."""
        if not self._bash:
            return
        now = time.monotonic()
        foreground = self._bash.foreground
        if self._awaited and now >= self._up_by:
            foreground.kill_all()
        command = self._command
        if command is None or not command.begun:
            return
        foreground.look()
        if command.deadline is None or now < command.deadline:
            return
        step = command.signals if command.timed_out else 0
        command.timed_out = True
        command.signals = step + 1
        command.deadline = now + STEP_SECONDS
        if step == 0:
            foreground.interrupt()
        elif step <= len(SIGNALS):
            foreground.signal(SIGNALS[step - 1])
        else:
            foreground.kill_all()

    def ended(self, status: int) -> None:
        """bash has ended with a wait status: what ran in it ends, and the next command starts a new one."""
        assert self._bash
        said = self._bash.last_words()
        self._bash.close()
        self._bash = None
        self._up = False
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
        return bool(self._bash and (not self._up or (self._command and not self._command.begun)))

    def _spawn(self) -> None:
        """Start bash for the command that waits, and fail that in words when it cannot be started."""
        assert self._next
        self._next.attempts += 1
        if self._next.attempts > ATTEMPTS:
            self._refuse("bash ends before it is ready: /tmp or the memory may be full. Restart the kernel.")
            return
        try:
            self._bash = Bash(self._cwd, self.env, self._reported)
        except OSError as error:
            self._refuse(
                f"bash cannot be started: {error.strerror}. The sandbox may have no process or file left: "
                "end some, or restart the kernel."
            )
            return
        self._up = False
        self._up_by = time.monotonic() + READY_SECONDS

    def _feed(self, bash: Bash) -> None:
        """Give the command that waits to bash, which stands at its prompt."""
        assert self._next
        try:
            bash.run(self._next)
        except OSError:  # a ulimit or an option of the user's keeps bash from making its pipes
            self._up = False
            bash.foreground.kill_all()
            return
        self._command, self._next = self._next, None
        self._up_by = time.monotonic() + READY_SECONDS

    def _reported(self, code: int | None) -> None:
        """Go on where bash says that a command begins (None), or that it stands at its prompt."""
        bash, command = self._bash, self._command
        assert bash
        if code is None:
            if command and not command.begun:
                self._begin(bash, command)
        elif not self._up:
            self._up = True
            raise_oom_score(bash.pid)
            if self._next:
                self._feed(bash)
        elif command:
            bash.status = code
            self._finish(code)

    def _begin(self, bash: Bash, command: Command) -> None:
        command.begun = True
        if command.timeout is not None:
            command.deadline = time.monotonic() + command.timeout
        if command.signals:
            bash.foreground.interrupt()

    def _finish(self, code: int) -> None:
        command, self._command = self._command, None
        assert command
        if self._bash:
            self._bash.foreground.settle()
        command.drain()
        self._cwd = self.cwd
        self._late.add(command)
        command.on_done(
            CommandResult(-1 if command.timed_out else code, self._cwd, command.timed_out, command.restarted)
        )

    def _refuse(self, words: str) -> None:
        command, self._next = self._next, None
        assert command
        command.on_done(CommandResult(-1, self._cwd, False, command.restarted, words))
