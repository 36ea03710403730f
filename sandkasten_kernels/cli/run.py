"""``sandkasten-kernels run FILE``: runs a program in a new sandbox."""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from ..client import Image, RunChunk, SandboxError, SyncSandboxClient
from .base import TIMED_OUT, ClientCommand
from .svg import is_drawing

__all__ = ["RunCommand"]

TTL_SECONDS = 60
"""The session lives so long after its last use, for a `run` that is killed before it can end the session."""

_EXIT_NOTE = re.compile(r"^.*UserWarning: To exit: use 'exit', 'quit', or Ctrl-D\.\n.*\n", re.MULTILINE)
"""IPython's advice after `sys.exit()`, meant for a person at a prompt and wrong for a program."""


class RunCommand(ClientCommand):
    """Runs a program in a new session, shows its output as it comes, and exits with its exit code.

    Figures are saved in the current directory; stderr names them. An SVG with anything but shapes, text and pixels
    could run code in a browser, and is saved as .svg.txt. The session ends with the program; a workspace stays.
    """

    examples = """\
  sandkasten-kernels run plot.py
  sandkasten-kernels run --workspace=thesis --image=python - < analysis.py
  sandkasten-kernels run --image=base - <<< 'uname -a'"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--workspace", metavar="W", help="workspace at /workspace; created if there is none")
        parser.add_argument("--image", metavar="I", help="image of the sandbox (default: the gateway's default image)")
        parser.add_argument(
            "--timeout", metavar="S", type=float, default=0, help="timeout of the program in seconds (exit code 124)"
        )
        parser.add_argument("file", metavar="FILE", help="file of the program, or - for stdin")

    def call(self, client: SyncSandboxClient, options: argparse.Namespace) -> int:
        # utf-8-sig: editors of Windows write a byte order mark
        code = sys.stdin.read() if options.file == "-" else Path(options.file).read_text("utf-8-sig")
        with client.create_session(
            image=options.image, workspace_id=options.workspace, ttl_seconds=TTL_SECONDS
        ) as session:
            exit_argument, numbers = None, itertools.count(1)
            for chunk in session.run_stream(code, timeout_ms=round(1000 * options.timeout)):
                if chunk.done:
                    return TIMED_OUT if chunk.timed_out else _exit_code(chunk, exit_argument)
                error = chunk.display.error if chunk.display else None
                if error and error.name == "SystemExit":
                    exit_argument = error.value
                else:
                    _show(chunk, numbers)
        raise SandboxError("the gateway closed the stream before it sent the program's exit code")


def _show(chunk: RunChunk, numbers: Iterator[int]) -> None:
    if chunk.display and chunk.display.image:
        print(f"saved {_save(chunk.display.image, numbers)}", file=sys.stderr)
        return
    if chunk.display and chunk.display.kind == "execute_result":
        return  # only a notebook shows the value of the last expression; `python FILE` does not
    failed = chunk.stream == "stderr" or (chunk.display is not None and chunk.display.error is not None)
    text = _EXIT_NOTE.sub("", chunk.output) if failed else chunk.output
    print(text, end="", flush=True, file=sys.stderr if failed else sys.stdout)


def _exit_code(chunk: RunChunk, exit_argument: str | None) -> int:
    """Return the exit code that Python would have: of ``sys.exit(argument)`` if the program called it.

    A number is the code, no argument means 0, and any other argument is printed on stderr and means 1.
    """
    if exit_argument is None:
        # an exit code has 8 bits: -1 becomes 255
        return chunk.exit_code & 0xFF
    if exit_argument == "":
        return 0
    if exit_argument.removeprefix("-").isdecimal():
        return int(exit_argument) & 0xFF
    print(exit_argument, file=sys.stderr)
    return 1


def _save(image: Image, numbers: Iterator[int]) -> Path:
    """Save a figure under the next free name ``figure-N``; an SVG that is not a mere drawing gets ``.svg.txt``."""
    harmless = image.mime != "image/svg+xml" or is_drawing(image.data)
    ending = image.extension if harmless else f"{image.extension}.txt"
    while True:
        path = Path(f"figure-{next(numbers)}.{ending}")
        try:
            # creates the file: two runs in one directory never take the same name
            path.touch(exist_ok=False)
        except FileExistsError:
            continue
        return image.save(path)
