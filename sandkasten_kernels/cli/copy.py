"""``sandkasten-kernels cp``: copies files and directories to a session or workspace, and back."""

from __future__ import annotations

import argparse
import posixpath
from pathlib import Path

from ..client import FileNotFound, SandboxAPIError, SyncSandboxClient, SyncSession, SyncWorkspace
from ..errors import ConfigError
from .base import ClientCommand
from .progress import ProgressBar
from .targets import files_of

__all__ = ["CopyCommand"]

OPERANDS = "LOCAL, SESSION:PATH or WORKSPACE:PATH"


class CopyCommand(ClientCommand):
    """Copies a file or directory between this machine and a session or workspace. Links in a directory are left out.

    SESSION is an id, the first characters of one, or a name. PATH starts at /workspace. If the target is a directory,
    or ends with a slash, the copy keeps its own name there. Write a local file with a colon in its name as ./NAME.
    """

    examples = """\
  sandkasten-kernels cp data.csv thesis:data/
  sandkasten-kernels cp my-session:plot.png ."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("source", metavar="FROM", help=OPERANDS)
        parser.add_argument("target", metavar="TO", help=f"{OPERANDS}; either FROM or TO is LOCAL, not both")

    def call(self, client: SyncSandboxClient, options: argparse.Namespace) -> int:
        source, target = _remote(options.source), _remote(options.target)
        if (source is None) == (target is None):
            raise ConfigError("one of FROM and TO must be LOCAL, and the other SESSION:PATH or WORKSPACE:PATH")
        with ProgressBar(options.source) as progress:
            if source:
                files_of(client, source[0]).download(source[1] or ".", options.target, progress=progress)
            elif target:
                _upload(files_of(client, target[0]), Path(options.source), target[1], progress)
        return 0


def _remote(operand: str) -> tuple[str, str] | None:
    """Return the session or workspace of an operand and the path in it; None for a local path."""
    owner, colon, path = operand.partition(":")
    return (owner, path) if colon and owner and "/" not in owner else None


def _upload(files: SyncSession | SyncWorkspace, local: Path, path: str, progress: ProgressBar) -> None:
    name = local.resolve().name
    folder = path or "."
    if path and not path.endswith("/") and not _is_directory(files, path):
        folder, name = posixpath.split(path)
    files.upload(local, dest_path=folder or ".", filename=name, progress=progress)


def _is_directory(files: SyncSession | SyncWorkspace, path: str) -> bool:
    try:
        files.ls(path)
    except FileNotFound:
        return False
    except SandboxAPIError as error:
        if error.code != "INVALID_REQUEST":  # the code for a path that is a file
            raise
        return False
    return True
