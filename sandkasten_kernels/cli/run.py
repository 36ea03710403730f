"""``sandkasten-kernels run FILE``: a program in a sandbox of its own."""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from ..client import Image, RunChunk, SandboxError, SyncSandboxClient
from .base import ClientApp
from .svg import is_drawing

__all__ = ["RunApp"]

TIMED_OUT = 124
LEFT_SECONDS = 60
"""So long the session of a `run` that was killed outlives it."""

_EXIT_NOTE = re.compile(r"^.*UserWarning: To exit: use 'exit', 'quit', or Ctrl-D\.\n.*\n", re.MULTILINE)
"""What IPython says to a person who tried to leave; here it is the program that ended itself."""


class RunApp(ClientApp):
    """Runs a program in a fresh session, shows what it says as it says it, and exits with its code.

    Figures are saved in the current directory, and their names told on stderr; an SVG that is more than a drawing, and
    could run code in a browser, gets the ending .svg.txt. The session ends with the program; a workspace stays.
    """

    name = "sandkasten-kernels run"
    description = __doc__ or ""
    examples = """examples:
  sandkasten-kernels run plot.py
  sandkasten-kernels run --workspace=thesis --image=python - < analysis.py
  sandkasten-kernels run --image=base - <<< 'uname -a'"""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--workspace", metavar="W", help="the workspace it has; made where there is none")
        parser.add_argument("--image", metavar="I", help="the image it runs in; without it the gateway's default")
        parser.add_argument("--timeout", metavar="S", type=float, default=0, help="seconds it may take")
        parser.add_argument("file", metavar="FILE", help="the program, or - for stdin")

    def run(self, client: SyncSandboxClient) -> int:
        file = self.options.file
        code = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8-sig")
        wanted = {"image": self.options.image, "workspace_id": self.options.workspace}
        with client.create_session(**wanted, ttl_seconds=LEFT_SECONDS) as session:
            ended_by, numbers = None, itertools.count(1)
            for chunk in session.run_stream(code, timeout_ms=round(1000 * self.options.timeout)):
                if chunk.done:
                    return TIMED_OUT if chunk.timed_out else _code(chunk, ended_by)
                error = chunk.display.error if chunk.display else None
                if error and error.name == "SystemExit":
                    ended_by = error.value
                else:
                    _show(chunk, numbers)
        raise SandboxError("the program's end was not told")


def _show(chunk: RunChunk, numbers: Iterator[int]) -> None:
    if chunk.display and chunk.display.image:
        print(f"saved {_save(chunk.display.image, numbers)}", file=sys.stderr)
        return
    if chunk.display and chunk.display.kind == "execute_result":
        return  # a program's last value is a notebook's to show
    failed = chunk.stream == "stderr" or (chunk.display is not None and chunk.display.error is not None)
    text = _EXIT_NOTE.sub("", chunk.output) if failed else chunk.output
    print(text, end="", flush=True, file=sys.stderr if failed else sys.stdout)


def _code(chunk: RunChunk, ended_by: str | None) -> int:
    """Return what to exit with; a program that ended itself has said that, as a number or in words."""
    if ended_by in (None, ""):
        return 0 if ended_by == "" else chunk.exit_code & 0xFF
    assert ended_by is not None
    if ended_by.removeprefix("-").isdecimal():
        return int(ended_by) & 0xFF
    print(ended_by, file=sys.stderr)
    return 1


def _save(image: Image, numbers: Iterator[int]) -> Path:
    """Write a figure to the next name that is free, which is no SVG's when it is more than a drawing."""
    harmless = image.mime != "image/svg+xml" or is_drawing(image.data)
    ending = image.extension if harmless else f"{image.extension}.txt"
    while True:
        path = Path(f"figure-{next(numbers)}.{ending}")
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            continue
        return image.save(path)
