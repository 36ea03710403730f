"""``/v1/sessions/{id}/fs``: list, write, upload and remove files of a session's workspace."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from ...engines import WORKSPACE
from ...errors import InvalidRequest, SandboxFailed
from ...protocol import timestamp
from ...workspaces import Allowance, FileInfo, Files, Writer, absolute, relative, unpack
from .base import V1Handler
from .forms import FormReader, Part
from .parameters import file_content
from .uploads import StreamedHandler

__all__ = [
    "DirectoryHandler",
    "MakeDirectoryHandler",
    "UnpackHandler",
    "UploadHandler",
    "WriteHandler",
    "check_place",
    "files_of",
    "query_path",
]

FILE_PARTS = ("file", "files")
MAX_FIELD_BYTES = 8192


@asynccontextmanager
async def files_of(handler: V1Handler, name: str) -> AsyncIterator[Files]:
    """Yield the files of a session, or of a workspace on a workspace's route. Both count as in use meanwhile.

    Raises the errors of `Sessions.running` or `WorkspaceFiles.open`, and `TooMany`.
    """
    if handler.of_workspace:
        async with handler.services.workspace_files.open(name) as files:
            yield files
        return
    session = handler.services.sessions.running(name, handler.owner)
    try:
        with session.transfer() as files:
            yield files
    except SandboxFailed:
        # `running` raises `SessionEnded` for a session that ended meanwhile: the better error
        handler.services.sessions.running(name, handler.owner)
        raise


def check_place(handler: V1Handler, name: str) -> None:
    """Raise for an unknown session or workspace, before a body is read."""
    if handler.of_workspace:
        handler.services.workspaces.require(name)
    else:
        handler.services.sessions.running(name, handler.owner)


def query_path(handler: V1Handler, default: str | None = None) -> str:
    """Return the query's ``path`` relative to the workspace, with its exact bytes. Raises `InvalidRequest`.

    ``default``: the path when the query has none; None when it is required.
    """
    found = handler.request.query_arguments.get("path")
    if found:
        return relative(found[-1].decode("utf-8", "surrogateescape"))
    if default is None:
        raise InvalidRequest("path: is needed, as in ?path=notes/today.txt")
    return default


class DirectoryHandler(V1Handler):
    """``GET /v1/sessions/{id}/fs?path=`` lists a directory, ``DELETE`` removes a file or an empty directory."""

    async def get(self, session_id: str) -> None:
        path = query_path(self, "")
        async with files_of(self, session_id) as files:
            entries, more = await files.entries(path)
        self.write_json({"path": absolute(path), "entries": [_shown(e) for e in entries], "truncated": more})

    async def delete(self, session_id: str) -> None:
        path = query_path(self)
        async with files_of(self, session_id) as files:
            await files.remove(path)
        self.write_json({"ok": True})


class WriteHandler(V1Handler):
    """``POST /v1/sessions/{id}/fs/write``: writes a small file atomically."""

    way_out = ": send a larger file to fs/upload"

    async def post(self, session_id: str) -> None:
        path, data = file_content(self.json_body())
        target = relative(path)
        async with files_of(self, session_id) as files:
            await files.write(target, data)
        self.write_json({"ok": True, "path": absolute(target)})


class MakeDirectoryHandler(V1Handler):
    """``POST /v1/sessions/{id}/fs/mkdir``: creates a directory with its parents; no-op if it exists."""

    async def post(self, session_id: str) -> None:
        path = self.json_body().get("path")
        if not isinstance(path, str):
            raise InvalidRequest(f"path: must be the path of a directory, below {WORKSPACE}")
        target = relative(path)
        async with files_of(self, session_id) as files:
            await files.mkdir(target)
        self.write_json({"ok": True, "path": absolute(target)})


class UploadHandler(StreamedHandler):
    """``POST /v1/sessions/{id}/fs/upload``: a form of files. They appear once the whole form has arrived."""

    def check(self, session_id: str) -> None:
        check_place(self, session_id)
        self._form = FormReader(self.request.headers.get("Content-Type", ""))

    async def take(self, pieces: AsyncIterator[bytes], session_id: str) -> dict[str, Any]:
        async with files_of(self, session_id) as files, AsyncExitStack() as stack:
            received = _Received(files, self.services.limits.max_upload_bytes, stack)
            async for data in pieces:
                for event in self._form.feed(data):
                    await received.add(event)
            self._form.finish()
            return {"ok": True, "paths": await received.place()}


class _Received:
    """The received part of a form: files not yet in place; the target directory may follow in the form."""

    def __init__(self, files: Files, limit: int, stack: AsyncExitStack) -> None:
        self._files = files
        self._allowance = Allowance(limit)
        self._stack = stack
        self._folder = ""
        self._writers: list[tuple[str, Writer]] = []
        self._field = bytearray()
        self._part = Part("", None)

    async def add(self, event: Part | bytes) -> None:
        """Handle an event of a `FormReader`."""
        if isinstance(event, Part):
            self._part = event
            self._field.clear()
            if event.name in FILE_PARTS:
                await self._begin(event.filename)
        elif self._part.name in FILE_PARTS:
            self._allowance.take(len(event))
            await self._writers[-1][1].write(event)
        else:
            self._allowance.take(len(event))
            self._field += event[: MAX_FIELD_BYTES - len(self._field)]
            if not event and self._part.name == "path" and self._part.filename is None:
                self._folder = relative(self._field.decode("utf-8", "surrogateescape"))

    async def _begin(self, filename: str | None) -> None:
        # a client may send a whole path, also one of Windows
        name = re.split(r"[/\\]", filename or "")[-1]
        if name in ("", ".", ".."):
            raise InvalidRequest(f"{self._part.name}: needs the name of a file as filename, got {filename!r:.200}")
        # only to check it: raises for NUL and for a name that is too long
        relative(name)
        # what is collected of the file before goes to the sandbox: at most one piece is in memory
        if self._writers:
            await self._writers[-1][1].flush()
        writer = Writer(self._files, name)
        self._stack.push_async_callback(writer.close)
        self._writers.append((name, writer))

    async def place(self) -> list[str]:
        """Move the files to their paths, and return these. Raises `InvalidRequest` for a form without files."""
        if not self._writers:
            raise InvalidRequest("the form has no file: send a part named file, or several named files")
        paths = [relative(f"{self._folder}/{name}" if self._folder else name) for name, _ in self._writers]
        for path, (_, writer) in zip(paths, self._writers, strict=True):
            await writer.place(path)
        return [absolute(path) for path in paths]


class UnpackHandler(StreamedHandler):
    """``POST /v1/sessions/{id}/fs/unpack?path=``: unpacks a tar archive below a directory while it arrives."""

    def check(self, session_id: str) -> None:
        check_place(self, session_id)
        query_path(self, "")

    async def take(self, pieces: AsyncIterator[bytes], session_id: str) -> dict[str, Any]:
        path = query_path(self, "")
        async with files_of(self, session_id) as files:
            count = await unpack(files, path, pieces, limit=self.services.limits.max_upload_bytes)
        return {"ok": True, "path": absolute(path), "files": count}


def _shown(info: FileInfo) -> dict[str, Any]:
    """Return the JSON object of an entry. Bytes of its name that are not UTF-8 are replaced."""
    return {
        "name": info.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
        "is_dir": info.kind == "directory",
        "kind": info.kind,
        "size": info.size,
        "modified": timestamp(datetime.fromtimestamp(info.modified, UTC)),
    }
