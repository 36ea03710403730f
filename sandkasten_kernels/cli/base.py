"""Command: the base class of every command, and ClientCommand, that of the commands which call a running gateway."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from typing import ClassVar

from ..client import GatewayNotFound, SandboxError, SyncSandboxClient
from ..errors import ConfigError, SandkastenError
from .output import one_line

__all__ = ["INTERRUPTED", "TIMED_OUT", "ClientCommand", "Command"]

RETRY_SECONDS = 2.0
INTERRUPTED, TERMINATED = 130, 143
"""Exit codes after SIGINT and SIGTERM, as of a shell: 128 plus the number of the signal."""
TIMED_OUT = 124
"""Exit code when a program or command ran out of time, as of coreutils' timeout."""


class Command:
    """One command of the program. The docstring of a subclass is the description in its help.

    Attributes
    ----------
    examples: command lines that end the help, one a line.
    usage: replaces the usage line that `argparse` makes; ``%(prog)s`` stands for the command.
    """

    examples: ClassVar[str] = ""
    usage: ClassVar[str | None] = None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments and options of the command."""

    def prepare(self, parser: argparse.ArgumentParser, argv: list[str]) -> list[str]:
        """Return the words of ``argv`` that ``parser`` is to parse; by default all."""
        return argv

    def run(self, options: argparse.Namespace) -> int:
        """Run the command and return its exit code.

        Raises `ConfigError` for wrong arguments or a wrong configuration (exit code 2), and `SandkastenError` for any
        later failure (exit code 1).
        """
        raise NotImplementedError


class ClientCommand(Command):
    """A command that calls a running gateway through the SDK. It imports no module of the gateway itself."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add ``--url``."""
        parser.add_argument(
            "--url",
            help="URL of the gateway, instead of SANDKASTEN_URL; without either, the gateway of this user on this "
            "machine. `ps` shows a token in a URL to every user: set SANDKASTEN_API_KEY instead",
        )

    def run(self, options: argparse.Namespace) -> int:
        """Connect to the gateway, run `call` and return its exit code."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # an exception, so that sessions are ended
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(
                    errors="replace"
                )  # the terminal's encoding may lack characters of a program's output
        try:
            with SyncSandboxClient(base_url=options.url, retry_for=RETRY_SECONDS) as client:
                code = self.call(client, options)
                sys.stdout.flush()
                return code
        except GatewayNotFound as error:
            raise ConfigError(str(error)) from error
        except BrokenPipeError:
            # the reader of a pipe has ended (`ps | head -1`); Python's own flush at exit must not fail as well
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except (SandboxError, OSError, ValueError) as error:
            raise SandkastenError(one_line(error)) from error

    def call(self, client: SyncSandboxClient, options: argparse.Namespace) -> int:
        """Do the work of the command and return its exit code.

        Raises `ConfigError` for wrong arguments; any `SandboxError`, `OSError` or `ValueError` is a failure.
        """
        raise NotImplementedError
