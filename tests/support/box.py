"""The files of one session, asked for over HTTP, and what is sent there."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from typing import Any
from urllib.parse import quote

from tornado.httpclient import HTTPResponse

from tests.support.kernel_client import Api

MB = 1_000_000
BOUNDARY = "--a-boundary--"
KIND = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


class Box:
    """The files of one session, asked for over HTTP."""

    def __init__(self, api: Api, session_id: str) -> None:
        self.api = api
        self.path = f"/v1/sessions/{session_id}"
        self.url = f"{api.url}{self.path}/fs"
        self.auth = {"Authorization": f"Bearer {api.token}"}

    async def ask(
        self, method: str, door: str, body: Any = None, status: int = 200, kind: dict[str, str] | None = None
    ) -> HTTPResponse:
        headers = {**self.auth, **(kind or {})}
        response = await self.api.request(method, f"{self.path}/fs{door}", body, headers)
        assert response.code == status, response.body
        return response

    async def json(self, method: str, door: str, body: Any = None, status: int = 200, **kind: Any) -> dict[str, Any]:
        return dict(json.loads((await self.ask(method, door, body, status, **kind)).body))

    async def write(self, path: str, data: bytes | str) -> None:
        content = {"text": data} if isinstance(data, str) else {"content_base64": base64.b64encode(data).decode()}
        await self.json("POST", "/write", {"path": path, **content})

    async def read(self, path: str, query: str = "") -> bytes:
        answer = await self.json("GET", f"/read?path={quote(path)}{query}")
        return base64.b64decode(answer["content_base64"])

    async def names(self, path: str = "") -> list[str]:
        return [entry["name"] for entry in (await self.json("GET", f"?path={quote(path)}"))["entries"]]

    async def upload(self, *parts: tuple[str, str | None, bytes], status: int = 200) -> dict[str, Any]:
        return await self.json("POST", "/upload", form(*parts), status, kind=KIND)

    async def run(self, cmd: str) -> str:
        response = await self.api.request("POST", f"{self.path}/exec", {"cmd": cmd})
        answer = json.loads(response.body)
        assert answer["exit_code"] == 0, answer
        return str(answer["stdout"])


def form(*parts: tuple[str, str | None, bytes]) -> bytes:
    """Return a form of parts that are a name, a filename and a content."""
    data = b""
    for name, filename, content in parts:
        shown = "" if filename is None else f'; filename="{filename}"'
        data += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n\r\n'.encode()
        data += content + b"\r\n"
    return data + f"--{BOUNDARY}--\r\n".encode()


def packed(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Return a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def members(archive: bytes) -> list[str]:
    """Return the names in a tar archive."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.getnames()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    """Return what stands before a file in a tar archive."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


async def new_box(api: Api) -> Box:
    """Return the files of a new session."""
    response = await api.request("POST", "/v1/sessions", {})
    assert response.code == 201, response.body
    return Box(api, json.loads(response.body)["id"])
