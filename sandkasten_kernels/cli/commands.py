"""The program: a client's command, for which nothing of the gateway is loaded, or all that belongs to the gateway."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from ..errors import ConfigError, SandkastenError

__all__ = ["CLIENT_COMMANDS", "main", "one_line_errors"]

PROGRAM = "sandkasten-kernels"

CLIENT_COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("sandkasten_kernels.cli.run.RunApp", "Run a program in a sandbox of its own."),
    "exec": ("sandkasten_kernels.cli.sessions.ExecApp", "Run a command in a session."),
    "ps": ("sandkasten_kernels.cli.sessions.PsApp", "List the sessions."),
    "rm": ("sandkasten_kernels.cli.sessions.RmApp", "End sessions."),
    "cp": ("sandkasten_kernels.cli.copy.CpApp", "Copy files to a session or a workspace, and back."),
    "workspaces": ("sandkasten_kernels.cli.workspaces.WorkspacesApp", "List, export, import, remove workspaces."),
    "pool": ("sandkasten_kernels.cli.status.PoolApp", "Show what is kept warm."),
    "events": ("sandkasten_kernels.cli.status.EventsApp", "Show what has happened."),
}
"""Class and help of each, as traitlets has them."""


def main(argv: list[str] | None = None) -> None:
    """Run the command; exit with 2 for a wrong argument or configuration, 1 for what failed later, in one line each."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] not in CLIENT_COMMANDS:
        import_module("sandkasten_kernels.app").main(argv)
        return
    module, _, name = CLIENT_COMMANDS[argv[0]][0].rpartition(".")
    with one_line_errors():
        command = getattr(import_module(module), name)()
        command.initialize(argv[1:])
        command.start()


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Exit where something is wrong, with one line on stderr."""
    try:
        yield
    except ConfigError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        sys.exit(2)
    except SandkastenError as error:
        print(f"{PROGRAM}: {error.message}", file=sys.stderr)
        sys.exit(1)
