"""What background jobs write after their command has ended."""

from __future__ import annotations

from .command import CHUNK, Command

MAX_COMMANDS = 16
MAX_BYTES = 1 << 20


class LateOutput:
    """The commands that have ended and whose pipes somebody still holds; each may write `MAX_BYTES` more.

    Of more than `MAX_COMMANDS` the oldest is no longer read.
    """

    def __init__(self) -> None:
        self._commands: list[Command] = []

    def add(self, command: Command) -> None:
        """Read on what comes from a command's pipes; no-op when nobody holds them."""
        if command.outputs:
            self._commands.append(command)
            if len(self._commands) > MAX_COMMANDS:
                self._commands.pop(0).close()

    def readable(self) -> list[int]:
        """Return the descriptors to wait for."""
        return [fd for command in self._commands for fd in command.outputs]

    def read(self, fd: int) -> None:
        """Pass on what one of them has."""
        for command in self._commands:
            if fd in command.outputs:
                command.read(fd)
                command.late_bytes += CHUNK
                if command.late_bytes > MAX_BYTES:
                    command.close()
        self._commands = [command for command in self._commands if command.outputs]
