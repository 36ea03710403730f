"""The files of one sandbox's workspace, read and written through its guest, a bounded piece at a time."""

from __future__ import annotations

import posixpath
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from .calls import LinkError
from .errors import (
    FileRefused,
    InvalidRequest,
    NoSpace,
    SandboxFailed,
    SandkastenError,
    TooLarge,
    UnknownFile,
)
from .guest_link import MAX_DATA_BYTES, GuestLink
from .messages import Reply
from .tars import Entry, TarReader, tar_end, tar_header, tar_padding

__all__ = ["Files", "relative"]

WORKSPACE = "/workspace"
ASK_SECONDS = 30.0
MAX_PATH = 4096
MAX_DEPTH = 64
_ERRORS: dict[str, type[SandkastenError]] = {"FILE_NOT_FOUND": UnknownFile, "NO_SPACE": NoSpace}


def relative(path: str) -> str:
    """Return a path below the workspace, empty for the workspace itself.

    A relative path counts from there. Raises `InvalidRequest` for one that leads out, or is none.
    """
    if "\0" in path or len(path) > MAX_PATH:
        raise InvalidRequest(f"path: a text of at most {MAX_PATH} characters without NUL")
    whole = posixpath.normpath(posixpath.join(WORKSPACE, path))
    if whole != WORKSPACE and not whole.startswith(WORKSPACE + "/"):
        raise InvalidRequest(f"path: {path[:200]!r} is outside {WORKSPACE}")
    return whole[len(WORKSPACE) + 1 :]


class Files:
    """Reads and writes below ``/workspace``; all paths are those of `relative`.

    What the guest says is believed as far as its types go. Every method raises `SandboxFailed` when the sandbox does
    not answer, `UnknownFile`, and `FileRefused` for what is not a file or leads out by a link.
    """

    def __init__(self, guest: GuestLink) -> None:
        self._guest = guest

    async def entries(self, path: str) -> tuple[list[dict[str, Any]], bool]:
        """Return the entries of a directory (``name kind size modified mode``), and whether there are more."""
        content = (await self._ask("file_list", path, path=path)).content
        found = content.get("entries")
        return [_entry(e) for e in found if isinstance(e, dict)] if isinstance(found, list) else [], bool(
            content.get("truncated")
        )

    async def stat(self, path: str) -> dict[str, Any]:
        """Return ``kind size modified mode``."""
        return _entry((await self._ask("file_stat", path, path=path)).content)

    @asynccontextmanager
    async def open(self, path: str) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Give a file's size as it is now, and its pieces; the file may have more or fewer bytes by the time."""
        content = (await self._ask("file_open", path, path=path)).content
        handle, size = str(content.get("handle")), content.get("size")
        try:
            yield (size if isinstance(size, int) else 0), self._pieces(path, handle)
        finally:
            await self._close(path, handle, commit=False)

    async def _pieces(self, path: str, handle: str) -> AsyncIterator[bytes]:
        while piece := (await self._ask("file_read", path, handle=handle, size=MAX_DATA_BYTES)).data:
            yield piece

    async def write(self, path: str, pieces: AsyncIterable[bytes], *, limit: int, mode: int | None = None) -> int:
        """Write a file whole, in the place of what was there; return its size. A failure leaves what was there.

        Raises `TooLarge` above ``limit`` bytes, `NoSpace`.
        """
        async with self.create(path, mode) as writer:
            async for piece in pieces:
                await writer.write(piece, limit)
        return writer.size

    @asynccontextmanager
    async def create(self, path: str, mode: int | None = None) -> AsyncIterator[Writer]:
        """Give a writer of a new file, which takes its place when the block ends without an error."""
        handle = str((await self._ask("file_create", path, path=path, mode=mode)).content.get("handle"))
        writer = Writer(self, path, handle)
        try:
            yield writer
        except BaseException:
            await self._close(path, handle, commit=False)
            raise
        await self._ask("file_close", path, handle=handle, commit=True)

    async def tar(self, path: str) -> AsyncIterator[bytes]:
        """Yield a directory as a tar archive, its files and directories; links and the rest are left out."""
        root = posixpath.basename(path) or "workspace"
        yield tar_header(root, size=0, mode=0o755, modified=0, is_dir=True)
        async for piece in self._tar_of(path, root, MAX_DEPTH):
            yield piece
        yield tar_end()

    async def _tar_of(self, path: str, name: str, depth: int) -> AsyncIterator[bytes]:
        entries, more = await self.entries(path)
        if more or not depth:
            limit = f"more than {MAX_DEPTH} directories in each other" if not depth else "too many files to list"
            raise FileRefused(f"{path!r} has {limit}: pack it inside and fetch the archive")
        for entry in entries:
            inner, label = posixpath.join(path, entry["name"]), f"{name}/{entry['name']}"
            if entry["kind"] == "directory":
                yield tar_header(label, size=0, mode=entry["mode"], modified=entry["modified"], is_dir=True)
                async for piece in self._tar_of(inner, label, depth - 1):
                    yield piece
            elif entry["kind"] == "file":
                async for piece in self._tar_file(inner, label, entry):
                    yield piece

    async def _tar_file(self, path: str, name: str, entry: dict[str, Any]) -> AsyncIterator[bytes]:
        """Yield one file; where it has changed meanwhile it is cut, or filled with zeros, to the size that was said."""
        async with self.open(path) as (size, pieces):
            yield tar_header(name, size=size, mode=entry["mode"], modified=entry["modified"], is_dir=False)
            left = size
            async for piece in pieces:
                yield piece[:left]
                left -= len(piece[:left])
                if not left:
                    break
            while left:
                yield bytes(min(left, MAX_DATA_BYTES))
                left -= min(left, MAX_DATA_BYTES)
            yield tar_padding(size)

    async def unpack(self, path: str, pieces: AsyncIterable[bytes], *, limit: int) -> list[str]:
        """Unpack a tar archive below a directory; return the paths of its files.

        Raises `InvalidRequest` for a link, a path that leads out and what is no archive; what stood before it in the
        archive is then there.
        """
        reader, written, total = TarReader(), list[str](), 0
        target: Writer | None = None
        async for data in pieces:
            for event in reader.feed(data):
                if isinstance(event, Entry):
                    inner = _below(path, event.path)
                    if event.is_dir:
                        await self._ask("file_mkdir", inner, path=inner)
                        continue
                    created = await self._ask("file_create", inner, path=inner, mode=event.mode & 0o777)
                    target = Writer(self, inner, str(created.content.get("handle")))
                elif target is not None and event:
                    total += len(event)
                    if total > limit:
                        await self._close(target.path, target.handle, commit=False)
                        raise _too_large(limit)
                    await target.write(event, limit)
                elif target is not None:
                    await self._ask("file_close", target.path, handle=target.handle, commit=True)
                    written.append(posixpath.join(WORKSPACE, target.path))
                    target = None
        reader.finish()
        return written

    async def _close(self, path: str, handle: str, *, commit: bool) -> None:
        try:
            await self._ask("file_close", path, handle=handle, commit=commit)
        except SandboxFailed:
            return  # its sandbox is gone, and the file with it

    async def _ask(self, request: str, about: str, data: bytes = b"", **content: Any) -> Reply:
        try:
            reply = await self._guest.ask(request, content, ASK_SECONDS, data)
        except LinkError as error:
            raise SandboxFailed(f"the sandbox cannot be asked for {about[:200]!r}: {error}", retry_after=1) from error
        if reply.content.get("status") != "ok":
            kind = _ERRORS.get(str(reply.content.get("ename")), FileRefused)
            words = str(reply.content.get("evalue"))[:200]
            raise kind(f"{posixpath.join(WORKSPACE, about)[:200]!r}: {words}")
        return reply


class Writer:
    """Writes one file; `size` counts."""

    def __init__(self, files: Files, path: str, handle: str) -> None:
        self.path = path
        self.handle = handle
        self.size = 0
        self._files = files

    async def write(self, data: bytes, limit: int) -> None:
        """Append. Raises `TooLarge` when the file then has more than ``limit`` bytes, `NoSpace`."""
        self.size += len(data)
        if self.size > limit:
            raise _too_large(limit)
        for start in range(0, len(data), MAX_DATA_BYTES):
            piece = data[start : start + MAX_DATA_BYTES]
            await self._files._ask("file_write", self.path, piece, handle=self.handle)  # noqa: SLF001  of one module


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"more than {limit} bytes: limits.max_upload_bytes allows no larger upload")


def _below(path: str, name: str) -> str:
    """Return where an archive's entry goes; ``..`` and absolute paths are refused."""
    if name.startswith("/") or ".." in name.split("/"):
        raise InvalidRequest(f"{name[:200]!r} in the archive leads out of its directory")
    return relative(posixpath.join(path, name))


def _entry(found: dict[str, Any]) -> dict[str, Any]:
    """Return what a guest says of a file, in the types that it must have."""
    size, modified, mode = found.get("size"), found.get("modified"), found.get("mode")
    return {
        "name": str(found.get("name", "")).replace("/", "?"),
        "kind": str(found.get("kind")),
        "size": size if isinstance(size, int) and size >= 0 else 0,
        "modified": float(modified) if isinstance(modified, int | float) else 0.0,
        "mode": mode & 0o777 if isinstance(mode, int) else 0,
    }
