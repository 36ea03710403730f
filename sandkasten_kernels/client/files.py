"""Files: the methods for files that sessions and workspaces share."""

from __future__ import annotations

import base64
import posixpath
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import httpx

from .api import Api
from .archive import (
    TAR_TYPE,
    Progress,
    form_of,
    local_target,
    open_file,
    place,
    scratch,
    tar_of_bytes,
    tar_of_directory,
    tar_of_stream,
    unpack,
)
from .results import FileInfo, Listing, ReadResult
from .wire import Body

__all__ = ["Files"]

# 8 MiB are 11 MiB of base64, below the gateway's limit of 16 MiB for a body
MAX_WRITE_BYTES = 8 * 1024 * 1024


class Files:
    """The files below ``/workspace``. A path is relative to it, or absolute."""

    def __init__(self, api: Api, path: str) -> None:
        self._api = api
        self._path = path

    async def write(self, path: str, content: str | bytes) -> None:
        """Write a file atomically, and create its directories."""
        data = content.encode() if isinstance(content, str) else content
        if len(data) <= MAX_WRITE_BYTES:
            body = {"path": path, "content_base64": base64.b64encode(data).decode()}
            await self._api.ask("POST", f"{self._path}/fs/write", json=body, again=True)
        else:
            folder, name = posixpath.split(path)
            await self._unpack(folder, tar_of_bytes(name, data))

    async def read(self, path: str, *, max_bytes: int | None = None) -> ReadResult:
        """Return the content of a file, at most its first `max_bytes`. Raises `FileNotFound`."""
        params = {"path": path} if max_bytes is None else {"path": path, "max_bytes": str(max_bytes)}
        data = await self._api.ask("GET", f"{self._path}/fs/read", params=params, again=True)
        return ReadResult(
            base64.b64decode(data["content_base64"]), data.get("path", path), data.get("truncated", False)
        )

    async def upload(
        self,
        file: str | PathLike[str] | BinaryIO,
        *,
        dest_path: str = "/workspace",
        filename: str | None = None,
        progress: Progress | None = None,
    ) -> list[str]:
        """Upload a local file, a directory without links, or the rest of an open file; return the new paths.

        Parameters
        ----------
        dest_path: the target directory.
        filename: the name there, if another one; needed for an open file without a name.
        progress: called with the bytes transferred, and with their total number or None.
        """
        in_thread = self._api.wire.in_thread
        if not isinstance(file, str | PathLike):
            name = filename or getattr(file, "name", None)
            if not isinstance(name, str) or not name:
                raise ValueError("filename: is needed, since the open file has no name")
            return await self._upload(file, posixpath.basename(name), dest_path, progress)
        local = Path(file)
        if await in_thread(local.is_dir):
            name = filename or (await in_thread(local.resolve)).name
            await self._unpack(dest_path, tar_of_directory(local, name, progress))
            return [posixpath.join("/workspace", dest_path, name)]
        with await in_thread(open_file, local) as source:
            return await self._upload(source, filename or local.name, dest_path, progress)

    async def download(
        self, path: str, to: str | PathLike[str] | None = None, *, progress: Progress | None = None
    ) -> Path:
        """Download a file atomically, or a directory without links; return the local path.

        Parameters
        ----------
        to: the local path, or an existing directory for it. Default: the same name in the current directory.
        progress: called with the bytes transferred, and with their total number or None.
        """
        in_thread = self._api.wire.in_thread
        target = await in_thread(local_target, path, to)
        async with self._download(path) as (answer, pieces):
            is_directory = answer.headers.get("Content-Type") == TAR_TYPE
            size = answer.headers.get("Content-Length")
            writer, draft = await in_thread(scratch, target)
            try:
                with writer:
                    passed = 0
                    async for piece in pieces:
                        await in_thread(writer.write, piece)
                        passed += len(piece)
                        if progress:
                            progress(passed, int(size) if size else None)
                await in_thread(unpack if is_directory else place, draft, target)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
        return target

    async def download_stream(self, path: str) -> AsyncGenerator[bytes, None]:
        """Yield a file's bytes, or a directory as a tar archive, as they arrive."""
        async with self._download(path) as (_, pieces):
            async for piece in pieces:
                yield piece

    def _download(self, path: str) -> AbstractAsyncContextManager[tuple[httpx.Response, AsyncGenerator[bytes, None]]]:
        return self._api.download(f"{self._path}/fs/download", {"path": path})

    async def ls(self, path: str = ".") -> Listing:
        """Return the entries of a directory. Raises `FileNotFound`."""
        data = await self._api.ask("GET", f"{self._path}/fs", params={"path": path}, again=True)
        entries = tuple(FileInfo.of(entry) for entry in data["entries"])
        return Listing(data.get("path", path), entries, data.get("truncated", False))

    async def mkdir(self, path: str) -> None:
        """Create a directory with its parents; no-op if it exists."""
        await self._api.ask("POST", f"{self._path}/fs/mkdir", json={"path": path}, again=True)

    async def remove(self, path: str) -> None:
        """Remove a file or an empty directory. Raises `FileNotFound`."""
        # not `again`: a repeated removal would raise `FileNotFound`
        await self._api.ask("DELETE", f"{self._path}/fs", params={"path": path})

    async def unpack(self, archive: BinaryIO, path: str = ".") -> int:
        """Unpack an open, uncompressed tar archive below a directory, without links; return the number of files."""
        return await self._unpack(path, tar_of_stream(archive))

    async def _upload(self, source: BinaryIO, name: str, dest_path: str, progress: Progress | None) -> list[str]:
        body = form_of(source, name, dest_path, progress)
        data = await self._api.ask("POST", f"{self._path}/fs/upload", body=body, again=True)
        return list(data.get("paths", []))

    async def _unpack(self, folder: str, body: Body) -> int:
        params = {"path": folder or "."}
        data = await self._api.ask("POST", f"{self._path}/fs/unpack", params=params, body=body, again=True)
        return int(data.get("files", 0))
