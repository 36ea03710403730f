"""``sandkasten-kernels cp``: files and directories between here and a session or a workspace."""

from __future__ import annotations

import argparse
import posixpath
from pathlib import Path

from ..client import FileNotFound, SandboxAPIError, SyncSandboxClient, SyncSession, SyncWorkspace
from ..errors import ConfigError
from .base import ClientApp
from .progress import ProgressBar
from .targets import files_of

__all__ = ["CpApp"]


class CpApp(ClientApp):
    """Copies a file, or a directory without its links, to a session or a workspace, or from there.

    PATH is below /workspace. A target that is a directory, or ends with a slash, gets it under its own name. What
    stands before the colon is a session, by id, beginning of an id or name, or a workspace; a file whose name has a
    colon is written ./name.
    """

    name = "sandkasten-kernels cp"
    description = __doc__ or ""
    examples = """examples:
  sandkasten-kernels cp data.csv thesis:data/
  sandkasten-kernels cp my-session:plot.png ."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("source", metavar="FROM", help="LOCAL, SESSION:PATH or WORKSPACE:PATH")
        parser.add_argument("target", metavar="TO", help="the same; one of the two is here and one there")

    def run(self, client: SyncSandboxClient) -> int:
        there_from, there_to = _there(self.options.source), _there(self.options.target)
        if (there_from is None) == (there_to is None):
            raise ConfigError("cp: one of FROM and TO is LOCAL, and the other SESSION:PATH or WORKSPACE:PATH")
        with ProgressBar(self.options.source) as progress:
            if there_from:
                files_of(client, there_from[0]).download(there_from[1] or ".", self.options.target, progress=progress)
            elif there_to:
                _upload(files_of(client, there_to[0]), Path(self.options.source), there_to[1], progress)
        return 0


def _there(operand: str) -> tuple[str, str] | None:
    """Return whose files an operand means, and the path; None for a local one."""
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
        if error.code != "INVALID_REQUEST":
            raise
        return False
    return True
