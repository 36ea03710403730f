"""The commands by name, their tree of parsers, and `main`, which imports and runs the one that is called."""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from importlib import import_module
from typing import NoReturn

from .. import __version__
from ..errors import ConfigError, ImageBuildError, SandkastenError
from .base import INTERRUPTED, Command

__all__ = ["COMMANDS", "main"]

PROGRAM = "sandkasten-kernels"
DESCRIPTION = "A Jupyter kernel gateway with kernels that already run, each alone in a locked-down container."
EXAMPLES = """\
  sandkasten-kernels                                  # serve, with the defaults
  sandkasten-kernels serve --config=sandkasten.yaml
  sandkasten-kernels images build                     # build the images, once
  sandkasten-kernels config show                      # show every setting and where it is set

`sandkasten-kernels COMMAND --help` shows the options of a command. For completion in bash or zsh, run
`eval "$(register-python-argcomplete sandkasten-kernels)"`, or put that line into ~/.bashrc or ~/.zshrc."""

COMMANDS: dict[str, tuple[str, str]] = {
    "serve": ("serve.ServeCommand", "serve; the default without a command"),
    "doctor": ("doctor.DoctorCommand", "check this machine and the configuration"),
    "images": ("images.ImagesCommand", "build the images of the sandboxes, or list them"),
    "config": ("config.ConfigCommand", "check the configuration, or show it with the source of each value"),
    "stop": ("stop.StopCommand", "stop the gateway; with --all, end every sandbox"),
    "token": ("token.TokenCommand", "print the token, or make a new one"),
    "run": ("run.RunCommand", "run a program in a new sandbox"),
    "exec": ("sessions.ExecCommand", "run a command in a session"),
    "ps": ("sessions.PsCommand", "list the sessions"),
    "rm": ("sessions.RmCommand", "end sessions"),
    "cp": ("copy.CopyCommand", "copy files to a session or workspace, and back"),
    "workspaces": ("workspaces.WorkspacesCommand", "list, export, import or remove workspaces"),
    "pool": ("status.PoolCommand", "show the warm kernels"),
    "events": ("status.EventsCommand", "show the events of sessions"),
}
"""Module and class, and the help, of each command. Only the module of the command that is called is imported."""


def main(argv: list[str] | None = None) -> NoReturn:
    """Run a command and exit with its code.

    An error is one line on stderr, and exit code 2 for wrong arguments or a wrong configuration, 1 for a later failure,
    130 after Ctrl-C.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if "_ARGCOMPLETE" in os.environ:  # a shell asks for completions of the line in COMP_LINE
        import argcomplete

        argcomplete.autocomplete(_parsers(os.environ["COMP_LINE"].split()[1:2])[0], print_suppressed=True)
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help", "--version")):
        argv.insert(0, "serve")
    name = PROGRAM if argv[0] == "serve" else f"{PROGRAM} {argv[0]}"
    try:
        sys.exit(_run(argv))
    except ConfigError as error:
        code, message = 2, str(error)
    except (SandkastenError, ImageBuildError) as error:
        code, message = 1, str(error)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    print(f"{name}: {message}", file=sys.stderr)
    sys.exit(code)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see {self.prog} --help")


def _run(argv: list[str]) -> int:
    program, parser, command = _parsers(argv[:1])
    if parser is None or command is None:
        program.parse_args(argv)  # exits: it prints the help or the version, or raises for an unknown command
        raise AssertionError(argv)
    # options may stand between the names (`rm a --url=U b`), which the parser of subcommands does not allow
    options, rest = parser.parse_known_intermixed_args(command.prepare(parser, argv[1:]))
    if rest:
        parser.error(f"unrecognized arguments: {rest[0].partition('=')[0]}")  # the value may be a secret
    return command.run(options)


def _parsers(called: list[str]) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser | None, Command | None]:
    """Return the tree of parsers, and the parser and the command of the one called: it alone has its arguments."""
    style = argparse.RawDescriptionHelpFormatter
    program = _Parser(prog=PROGRAM, description=DESCRIPTION, epilog=f"examples:\n{EXAMPLES}", formatter_class=style)
    program.add_argument("--version", action="version", version=__version__)
    commands = program.add_subparsers(metavar="COMMAND", title="commands")
    found, command = None, None
    for name, (path, text) in COMMANDS.items():
        parser = commands.add_parser(name, help=text, formatter_class=style)
        if [name] == called:
            module, _, class_name = path.rpartition(".")
            found, command = parser, getattr(import_module(f".{module}", __package__), class_name)()
            parser.description, parser.usage = inspect.getdoc(command), command.usage
            parser.epilog = f"examples:\n{command.examples}" if command.examples else None
            command.add_arguments(parser)
    return program, found, command
