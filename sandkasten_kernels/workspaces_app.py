"""``sandkasten-kernels workspaces export NAME`` and ``import NAME``: a workspace as a tar archive, and back."""

from __future__ import annotations

import http.client
import json
import sys
import tarfile
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

from traitlets import Unicode
from traitlets.config import Application

from .errors import ConfigError, InvalidWorkspace
from .workspace_name import workspace_name

__all__ = ["WorkspacesApp"]

TIMEOUT_SECONDS = 120


class WorkspacesApp(Application):
    """Writes a workspace to stdout as a tar archive, or makes a new one of the archive on stdin.

    `workspaces export NAME --url=URL > FILE` and `workspaces import NAME --url=URL < FILE`, asked of a gateway that
    runs. Files and directories are in the archive, links are not.
    """

    name = "sandkasten-kernels workspaces"
    description = __doc__ or ""
    examples = """
        sandkasten-kernels workspaces export my-project --url='http://127.0.0.1:8080/?token=TOKEN' > my-project.tar
        sandkasten-kernels workspaces import my-copy --url='http://127.0.0.1:8080/?token=TOKEN' < my-project.tar
    """
    url = Unicode("", help="The URL that the gateway printed at its start.").tag(config=True)
    aliases: dict[str, str] = {"url": "WorkspacesApp.url"}
    flags: dict[str, Any] = {}

    def start(self) -> None:
        """Do what the arguments say; exit with 1 when the gateway refuses. Raises `ConfigError`."""
        verb, name = self.extra_args if len(self.extra_args) == 2 else ("", "")
        if verb not in ("export", "import") or not urlsplit(self.url).netloc:
            raise ConfigError("workspaces: expected export NAME or import NAME, and --url=URL")
        try:
            workspace_name(name, "workspaces")
            gateway = _Gateway(self.url)
            gateway.export(name, sys.stdout.buffer) if verb == "export" else gateway.take_in(name, sys.stdin.buffer)
        except InvalidWorkspace as error:
            raise ConfigError(error.message) from error
        except (_Refused, OSError, http.client.HTTPException, tarfile.TarError) as error:
            print(f"{self.name}: {error}", file=sys.stderr)
            sys.exit(1)


class _Refused(Exception):
    """The gateway's answer is an error; its words."""


class _Gateway:
    """The gateway at a URL with a token."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url)
        token = parse_qs(self._address.query).get("token", [""])[0]
        self._headers = {"Authorization": f"Bearer {token}"}

    def export(self, name: str, target: IO[bytes]) -> None:
        """Write the files of a workspace to ``target``, each with its path in it."""
        with (
            self._ask("GET", f"/v1/workspaces/{name}/fs/download?path=.") as answer,
            tarfile.open(fileobj=answer, mode="r|") as whole,
            tarfile.open(fileobj=target, mode="w|") as archive,
        ):
            for member in whole:
                _, _, member.name = member.name.partition("/")  # the directory that a download is in
                if member.name:
                    archive.addfile(member, whole.extractfile(member) if member.isfile() else None)

    def take_in(self, name: str, source: IO[bytes]) -> None:
        """Make a workspace of an archive. Raises `_Refused` where there is one of the name."""
        with self._ask("GET", "/v1/workspaces") as answer:
            if name in [workspace["id"] for workspace in json.load(answer)["workspaces"]]:
                raise _Refused(f"there is a workspace {name} already: delete it, or choose another name")
        with self._ask("POST", "/v1/sessions", json.dumps({"workspace_id": name}).encode()) as answer:
            session = json.load(answer)["id"]
        try:
            with self._ask("POST", f"/v1/sessions/{session}/fs/unpack?path=.", source) as answer:
                print(f"{json.load(answer)['files']} files are in workspace {name}", file=sys.stderr)
        finally:
            self._ask("DELETE", f"/v1/sessions/{session}").close()

    def _ask(self, method: str, path: str, body: bytes | IO[bytes] | None = None) -> http.client.HTTPResponse:
        kind = http.client.HTTPSConnection if self._address.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._address.netloc, timeout=TIMEOUT_SECONDS)
        prefix = self._address.path.rstrip("/")
        connection.request(method, prefix + path, body, self._headers, encode_chunked=True)
        answer = connection.getresponse()
        if answer.status >= 300:
            words = answer.read(65536)
            try:
                raise _Refused(json.loads(words)["message"])
            except (ValueError, KeyError, TypeError):
                raise _Refused(f"the gateway answered {answer.status}") from None
        return answer
