"""Shell: one persistent bash, driven by file descriptors. It knows no messages.

Each command has pipes of its own for stdin, stdout and stderr, so the output is exactly the bytes that it wrote. The
working directory, variables, functions and background jobs persist. When bash itself ends, the next one starts in its
directory.
"""

from __future__ import annotations

import os
import signal
import time

from .bash import Bash
from .child_process import directory_of, raise_oom_score
from .command import CommandResult, ShellCommand
from .late_output import LateOutput

SMALLEST_SECONDS = 0.001
STEP_SECONDS = 1.0
SIGNALS = (signal.SIGTERM, signal.SIGKILL)
READY_SECONDS = 10.0
ATTEMPTS = 2


class Shell:
    """Runs one `ShellCommand` at a time; the caller waits for `idle` before the next one.

    The caller's loop waits for the descriptors of `readable` and `writable` and calls `ready` for each one. It calls
    `tick` after the seconds of `patience`, and `ended` when it has reaped the process `pid`.
    """

    def __init__(self, cwd: str, env: dict[str, str]) -> None:
        self.env = env
        self._cwd = cwd
        self._bash: Bash | None = None
        self._command: ShellCommand | None = None
        self._next: ShellCommand | None = None
        self._late = LateOutput()
        self._up = False
        self._up_by = 0.0
        self._killed = False

    @property
    def pid(self) -> int:
        """The process id of bash, 0 while none runs."""
        return self._bash.pid if self._bash else 0

    @property
    def idle(self) -> bool:
        """Whether `run` may be called."""
        return self._command is None and self._next is None

    @property
    def cwd(self) -> str:
        """The working directory of bash; the last known one when it cannot be read."""
        return directory_of(self.pid) or self._cwd

    def run(self, command: ShellCommand) -> None:
        """Run a command; start bash if it does not run."""
        self._next = command
        if not self._bash:
            self._spawn()
        elif self._up:
            self._feed(self._bash)

    def interrupt(self) -> None:
        """Send SIGINT to the foreground; no-op when no command runs."""
        if self._command:
            self._command.signals += 1
            if self._command.begun and self._bash:
                self._bash.foreground.interrupt()

    def stop(self) -> None:
        """Stop the command as after its timeout; bash keeps running if it can."""
        for command in (self._command, self._next):
            if command:
                command.timeout = SMALLEST_SECONDS
                command.deadline = time.monotonic()

    def kill(self) -> None:
        """Kill bash and its foreground. A running command ends with it; the next command runs in a new bash."""
        if self._bash:
            self._bash.foreground.kill_all()
            # bash is dead and not reaped yet: a command that comes before that must wait for the next one
            self._up = False
            self._up_by = time.monotonic() + READY_SECONDS
            self._killed = True

    def readable(self) -> list[int]:
        """Return the descriptors to wait for."""
        fds = self._late.readable()
        fds += self._command.outputs if self._command else []
        return fds + self._bash.readable() if self._bash else fds

    def writable(self) -> list[int]:
        """Return the descriptors for which data waits."""
        fds = self._bash.writable() if self._bash else []
        return fds + self._command.writable() if self._command else fds

    def ready(self, fd: int) -> None:
        """Read from or write to a descriptor that is ready."""
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
        """Act on timeouts: send a command INT, TERM and KILL, a second apart; then kill bash itself."""
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
        """Note that bash has ended with a wait status. Its command ends; the next command starts a new bash."""
        assert self._bash
        output = self._bash.exit_output()
        self._bash.close()
        self._bash = None
        self._up = False
        if self._command:
            code = os.waitstatus_to_exitcode(status)
            self._command.restarted = True
            if self._command.begun:
                self._command.exit_output = output
            self._finish(code if code >= 0 else 128 - code)
        elif self._next:
            self._next.restarted = not self._killed
            self._spawn()
        self._killed = False

    @property
    def _awaited(self) -> bool:
        """Whether a report of bash is expected: that it is at its prompt, or that the command begins."""
        return bool(self._bash and (not self._up or (self._command and not self._command.begun)))

    def _spawn(self) -> None:
        """Start bash for the command that waits; end the command with an error when bash cannot be started."""
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
        """Pass the waiting command to bash, which is at its prompt."""
        assert self._next
        try:
            bash.run(self._next)
        except OSError:  # a ulimit or an option that the user has set keeps bash from creating its pipes
            self._up = False
            bash.foreground.kill_all()
            return
        self._command, self._next = self._next, None
        self._up_by = time.monotonic() + READY_SECONDS

    def _reported(self, code: int | None) -> None:
        """Handle a report of bash: a command begins (None), or bash is at its prompt."""
        bash, command = self._bash, self._command
        assert bash
        if self._killed:
            return  # the last words of a bash that is dead already
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

    def _begin(self, bash: Bash, command: ShellCommand) -> None:
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

    def _refuse(self, message: str) -> None:
        command, self._next = self._next, None
        assert command
        command.on_done(CommandResult(-1, self._cwd, False, command.restarted, message))
