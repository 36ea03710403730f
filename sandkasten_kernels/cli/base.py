"""ClientApp: a command that asks a gateway, as any other client of its SDK."""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from traitlets.config import Application

from ..client import GatewayNotFound, SandboxError, SyncSandboxClient
from ..errors import ConfigError

__all__ = ["ClientApp", "one_line", "print_json", "print_table"]

RETRY_SECONDS = 2.0
INTERRUPTED, TERMINATED = 130, 143


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{self.prog.rpartition(' ')[2]}: {message}; see {self.prog} --help")


class ClientApp(Application):
    """A command of a client: `arguments` says what it takes, `run` does it and returns the exit code.

    An error is one line on stderr: exit code 2 for a wrong argument or where no gateway is found, 1 for what failed.
    """

    options: argparse.Namespace

    def initialize(self, argv: list[str] | None = None) -> None:
        """Parse the arguments. Raises `ConfigError`."""
        parser = _Parser(prog=self.name, description=self.description, epilog=self.examples)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.add_argument("--url", help="the URL that the gateway printed; without it SANDKASTEN_URL and "
                            "SANDKASTEN_API_KEY count, and then the gateway of this user on this machine")  # fmt: skip
        self.arguments(parser)
        self.options = parser.parse_args(argv)

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's own arguments."""

    def run(self, client: SyncSandboxClient) -> int:
        """Do it, and return the exit code."""
        raise NotImplementedError

    def start(self) -> None:
        """Run, and exit with its code. Raises `ConfigError`."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # so that a session is ended first
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # what a program says may not be in the terminal's characters
        try:
            with SyncSandboxClient(base_url=self.options.url, retry_for=RETRY_SECONDS) as client:
                code = self.run(client)
                sys.stdout.flush()
        except GatewayNotFound as error:
            raise ConfigError(str(error)) from error
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read has what he wanted
            code = 0
        except (SandboxError, OSError, ValueError) as error:
            print(f"{self.name}: {one_line(error)}", file=sys.stderr)
            code = 1
        except KeyboardInterrupt:
            code = INTERRUPTED
        sys.exit(code)


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table for a person."""
    cells = [tuple(heads), *(tuple(_cell(value) for value in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    for row in cells:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def print_json(values: Sequence[Any]) -> None:
    """Print dataclasses for a program, as a list."""
    print(json.dumps([dataclasses.asdict(value) for value in values], indent=2))


def _cell(value: object) -> str:
    text = "-" if value in (None, "") else str(value)
    return "".join(character if character.isprintable() else "?" for character in text)


def one_line(error: BaseException) -> str:
    """Return what went wrong as a terminal may show it."""
    if isinstance(error, OSError) and error.filename is not None:
        return _cell(f"{error.filename}: {error.strerror}")
    return _cell(" ".join(str(error).split()) or type(error).__name__)
