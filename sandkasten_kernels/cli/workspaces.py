"""``sandkasten-kernels workspaces``: which there are; one as a tar archive, and back; removing some."""

from __future__ import annotations

import argparse
import sys
import tarfile
from collections.abc import Iterator
from typing import IO

from ..client import SandboxError, SyncSandboxClient
from ..engines.workspace_name import workspace_name
from ..errors import ConfigError, InvalidWorkspace
from .base import ClientApp, print_json, print_table

__all__ = ["WorkspacesApp"]

LEFT_SECONDS = 60
"""So long the session of an import that was killed outlives it."""


class WorkspacesApp(ClientApp):
    """Lists the workspaces; writes one to stdout as a tar archive, makes a new one of the archive on stdin, or
    removes some. Files and directories are in an archive, links are not."""

    name = "sandkasten-kernels workspaces"
    description = __doc__ or ""
    examples = """examples:
  sandkasten-kernels workspaces
  sandkasten-kernels workspaces export my-project > my-project.tar
  sandkasten-kernels workspaces import my-copy < my-project.tar
  sandkasten-kernels workspaces rm my-copy"""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.usage = "%(prog)s [--url URL] [--json] [export NAME | import NAME | rm NAME...]"
        parser.add_argument("--json", action="store_true", help="the list for a program")
        parser.add_argument("verb", nargs="?", choices=("list", "export", "import", "rm"), default="list")
        parser.add_argument("names", metavar="NAME", nargs="*")

    def run(self, client: SyncSandboxClient) -> int:
        verb, names = self.options.verb, self.options.names
        if len(names) != {"list": 0, "rm": len(names) or 1}.get(verb, 1):
            raise ConfigError("workspaces: expected export NAME, import NAME, rm NAME..., or nothing to list them")
        try:
            for name in names:
                workspace_name(name, "workspaces")
        except InvalidWorkspace as error:
            raise ConfigError(error.message) from error
        if verb == "list":
            self._list(client)
        elif verb == "export":
            _export(client, names[0], sys.stdout.buffer)
        elif verb == "import":
            _import(client, names[0])
        for name in names if verb == "rm" else ():
            client.delete_workspace(name)
            print(name)
        return 0

    def _list(self, client: SyncSandboxClient) -> None:
        infos = client.list_workspaces()
        if self.options.json:
            print_json(infos)
            return
        rows = (
            (info.id, f"{'' if info.size_complete else '>'}{info.size_mb:g}", len(info.session_ids), info.created_at)
            for info in infos
        )
        print_table(("WORKSPACE", "MB", "SESSIONS", "CREATED"), rows)


class _Reader:
    """What arrives in pieces, as tarfile reads it."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (piece := next(self._pieces, b"")):
            self._rest += piece
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def _export(client: SyncSandboxClient, name: str, target: IO[bytes]) -> None:
    """Write the files of a workspace to ``target``, each with its path in it."""
    source = _Reader(client.workspace(name).download_stream("."))
    with (
        tarfile.open(fileobj=source, mode="r|") as whole,  # type: ignore[call-overload]
        tarfile.open(fileobj=target, mode="w|") as archive,
    ):
        for member in whole:
            _, _, member.name = member.name.partition("/")  # the directory that a download is in
            if member.name:
                archive.addfile(member, whole.extractfile(member) if member.isfile() else None)


def _import(client: SyncSandboxClient, name: str) -> None:
    """Make a workspace of an archive. Raises `SandboxError` where there is one of the name."""
    if any(info.id == name for info in client.list_workspaces()):
        raise SandboxError(f"there is a workspace {name} already: delete it, or choose another name")
    with client.create_session(image=None, workspace_id=name, ttl_seconds=LEFT_SECONDS) as session:
        count = session.unpack(sys.stdin.buffer)
    print(f"{count} files are in workspace {name}", file=sys.stderr)
