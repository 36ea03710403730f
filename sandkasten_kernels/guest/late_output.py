"""LateOutput: the output of background jobs after their command has ended."""

from __future__ import annotations

from .command import CHUNK, ShellCommand

MAX_COMMANDS = 16
MAX_BYTES = 1 << 20


class LateOutput:
    """The commands that have ended, but have background jobs that hold their pipes.

    The jobs of each may write `MAX_BYTES` more. Above `MAX_COMMANDS` commands, the oldest one's pipes are closed.
    """

    def __init__(self) -> None:
        self._commands: list[ShellCommand] = []

    def add(self, command: ShellCommand) -> None:
        """Keep reading a command's pipes; no-op when they are closed."""
        if command.outputs:
            self._commands.append(command)
            if len(self._commands) > MAX_COMMANDS:
                self._commands.pop(0).close()

    def readable(self) -> list[int]:
        """Return the descriptors to wait for."""
        return [fd for command in self._commands for fd in command.outputs]

    def read(self, fd: int) -> None:
        """Read one of the descriptors, and pass the output on."""
        for command in self._commands:
            if fd in command.outputs:
                command.read(fd)
                command.late_bytes += CHUNK
                if command.late_bytes > MAX_BYTES:
                    command.close()
        self._commands = [command for command in self._commands if command.outputs]
