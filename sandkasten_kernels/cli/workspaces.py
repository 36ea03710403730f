"""``sandkasten-kernels workspaces``: list, export, import and remove workspaces."""

from __future__ import annotations

import argparse
import sys
import tarfile
from collections.abc import Iterator
from typing import IO

from ..client import SandboxError, SyncSandboxClient
from ..errors import ConfigError, InvalidWorkspace
from .base import ClientCommand
from .output import print_json, print_table

__all__ = ["WorkspacesCommand"]

TTL_SECONDS = 60
"""The session of an import lives so long after its last use, for an import that is killed before it can end it."""


class WorkspacesCommand(ClientCommand):
    """Lists the workspaces, exports one to stdout as a tar archive, imports a new one from the archive on stdin, or
    removes some. An archive contains files and directories, but no links."""

    examples = """\
  sandkasten-kernels workspaces
  sandkasten-kernels workspaces export my-project > my-project.tar
  sandkasten-kernels workspaces import my-copy < my-project.tar
  sandkasten-kernels workspaces rm my-copy"""
    usage = "%(prog)s [--url URL] [--json] [export NAME | import NAME | rm NAME...]"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--json", action="store_true", help="print the list as JSON, for programs")
        parser.add_argument("verb", nargs="?", choices=("list", "export", "import", "rm"), default="list")
        parser.add_argument("names", metavar="NAME", nargs="*", default=[], help="name of a workspace")

    def call(self, client: SyncSandboxClient, options: argparse.Namespace) -> int:
        verb, names = options.verb, options.names
        if len(names) != {"list": 0, "rm": len(names) or 1}.get(verb, 1):
            raise ConfigError("expected export NAME, import NAME, rm NAME..., or nothing to list the workspaces")
        _check_names(names)
        if verb == "list":
            _list(client, options.json)
        elif verb == "export":
            _export(client, names[0], sys.stdout.buffer)
        elif verb == "import":
            _import(client, names[0])
        else:
            for name in names:
                client.delete_workspace(name)
                print(name)
        return 0


def _check_names(names: list[str]) -> None:
    # not at the top: a client's commands load no module of the gateway before they need it
    from ..engines import workspace_name

    try:
        for name in names:
            workspace_name(name, "workspaces")
    except InvalidWorkspace as error:
        raise ConfigError(error.message) from error


def _list(client: SyncSandboxClient, as_json: bool) -> None:
    infos = client.list_workspaces()
    if as_json:
        print_json(infos)
        return
    rows = (
        (info.id, f"{'' if info.size_complete else '>'}{info.size_mb:g}", len(info.session_ids), info.created_at)
        for info in infos
    )
    print_table(("WORKSPACE", "MB", "SESSIONS", "CREATED"), rows)


class _Reader:
    """A stream of chunks with the `read` that tarfile needs."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (chunk := next(self._chunks, b"")):
            self._rest += chunk
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def _export(client: SyncSandboxClient, name: str, target: IO[bytes]) -> None:
    """Write the files of a workspace to ``target`` as a tar archive, with paths relative to the workspace."""
    source = _Reader(client.workspace(name).download_stream("."))
    with (
        # the modes with a bar: neither stream can seek
        tarfile.open(fileobj=source, mode="r|") as whole,  # type: ignore[call-overload]
        tarfile.open(fileobj=target, mode="w|") as archive,
    ):
        for member in whole:
            _, _, member.name = member.name.partition("/")  # a download has everything in one directory
            if member.name:
                archive.addfile(member, whole.extractfile(member) if member.isfile() else None)


def _import(client: SyncSandboxClient, name: str) -> None:
    """Create a workspace from the tar archive on stdin. Raises `SandboxError` if the name is taken."""
    if any(info.id == name for info in client.list_workspaces()):
        raise SandboxError(f"workspace {name} already exists: remove it, or choose another name")
    with client.create_session(image=None, workspace_id=name, ttl_seconds=TTL_SECONDS) as session:
        count = session.unpack(sys.stdin.buffer)
    print(f"{count} files are in workspace {name}", file=sys.stderr)
