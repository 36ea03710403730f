"""The commands by name, and `main`, which loads the one that is called and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from ..errors import ConfigError, SandkastenError

__all__ = ["CLIENT_COMMANDS", "COMMANDS", "main", "one_line_errors"]

PROGRAM = "sandkasten-kernels"
_CLI = "sandkasten_kernels.cli"

CLIENT_COMMANDS: dict[str, tuple[str, str]] = {
    "run": (f"{_CLI}.run.RunApp", "Run a program in a sandbox of its own."),
    "exec": (f"{_CLI}.sessions.ExecApp", "Run a command in a session."),
    "ps": (f"{_CLI}.sessions.PsApp", "List the sessions."),
    "rm": (f"{_CLI}.sessions.RmApp", "End sessions."),
    "cp": (f"{_CLI}.copy.CpApp", "Copy files to a session or a workspace, and back."),
    "workspaces": (f"{_CLI}.workspaces.WorkspacesApp", "List, export, import or remove workspaces."),
    "pool": (f"{_CLI}.status.PoolApp", "Show the warm kernels."),
    "events": (f"{_CLI}.status.EventsApp", "Show the event log."),
}
"""Class and help of each command that asks a running gateway; none of them loads a module of the gateway."""

COMMANDS: dict[str, tuple[str, str]] = {
    "doctor": (f"{_CLI}.doctor.DoctorApp", "Check this machine and the configuration."),
    "images": (f"{_CLI}.images.ImagesApp", "Build the images of the sandboxes."),
    "config": (f"{_CLI}.config.ConfigApp", "Check the configuration, or show it with the source of each value."),
    "stop": (f"{_CLI}.stop.StopApp", "Stop the gateway; with --all, end every sandbox."),
    "token": (f"{_CLI}.token.TokenApp", "Print the token, or make a new one."),
    **CLIENT_COMMANDS,
}
"""Class and help of every command but ``serve``, as traitlets wants them."""

_GATEWAY = "sandkasten_kernels.app.SandkastenApp"


def main(argv: list[str] | None = None) -> None:
    """Run a command; an error is one line on stderr and exit code 2 (wrong argument or setting) or 1 (failure)."""
    argv = sys.argv[1:] if argv is None else argv
    with one_line_errors():
        if argv and argv[0] in CLIENT_COMMANDS:
            command = _load(CLIENT_COMMANDS[argv[0]][0])()
            argv = argv[1:]
        else:
            command = _load(_GATEWAY).instance()
        command.initialize(argv)
        command.start()


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an error for the user into one line on stderr and an exit code."""
    try:
        yield
    except ConfigError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        sys.exit(2)
    except SandkastenError as error:
        print(f"{PROGRAM}: {error.message}", file=sys.stderr)
        sys.exit(1)


def _load(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)
