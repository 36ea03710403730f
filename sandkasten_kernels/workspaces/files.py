"""The files of one sandbox's workspace, read and written through its guest, a bounded piece at a time."""

from __future__ import annotations

import asyncio
import posixpath
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from ..engines.base import WORKSPACE
from ..errors import (
    FileRefused,
    InvalidRequest,
    NoSpace,
    SandboxFailed,
    SandkastenError,
    TooLarge,
    TooMany,
    UnknownFile,
)
from ..protocol.messages import Reply
from ..relay.calls import LinkError
from ..relay.guest_link import MAX_DATA_BYTES, GuestLink
from .file_info import FileInfo, entries_of, info_of, natural

__all__ = ["Allowance", "Files", "Writer", "absolute", "relative"]

ASK_SECONDS = 30.0
MAX_PATH_BYTES = 4095
_ERRORS: dict[str, type[SandkastenError]] = {
    "FILE_NOT_FOUND": UnknownFile,
    "NO_SPACE": NoSpace,
    "TOO_MANY": TooMany,
}


def relative(path: str) -> str:
    """Return a path below the workspace, empty for the workspace itself.

    A relative path counts from there. A name's bytes that are no UTF-8 are as `os.fsdecode` has them. Raises
    `InvalidRequest` for a path that leads out, or is none.
    """
    try:
        size = len(path.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        raise InvalidRequest("path: must have no lone surrogate") from None
    if "\0" in path or size > MAX_PATH_BYTES:
        raise InvalidRequest(f"path: must have at most {MAX_PATH_BYTES} bytes, and no NUL among them")
    whole = "/" + posixpath.normpath(posixpath.join(WORKSPACE, path)).lstrip("/")
    if whole != WORKSPACE and not whole.startswith(WORKSPACE + "/"):
        raise InvalidRequest(f"path: {path[:200]!r} is outside {WORKSPACE}")
    return whole[len(WORKSPACE) + 1 :]


def absolute(path: str) -> str:
    """Return a path of `relative` as it is told to a caller: absolute, and text in any case."""
    whole = posixpath.join(WORKSPACE, path) if path else WORKSPACE
    return whole.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class Allowance:
    """The bytes that one request may still send. Raises `TooLarge` when they are used up."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = limit

    def take(self, count: int) -> None:
        """Use up ``count`` bytes."""
        self._left -= count
        if self._left < 0:
            raise TooLarge(f"more than {self._limit} bytes: limits.max_upload_bytes allows no larger upload")


class Files:
    """Reads and writes below ``/workspace``; all paths are those of `relative`.

    What the guest says is believed as far as its types go. Every method raises `SandboxFailed` when the sandbox does
    not answer, `UnknownFile`, and `FileRefused` for what is not a file or leads out by a link.
    """

    def __init__(self, guest: GuestLink) -> None:
        self._guest = guest

    async def entries(self, path: str) -> tuple[list[FileInfo], bool]:
        """Return some thousand entries of a directory, and whether there are more."""
        handle, more = _new_handle(), True
        try:
            reply = await self.ask("file_list", path, path=path, handle=handle)
            more = reply.content.get("more") is True
        finally:
            if more:
                await self.release(handle)
        return entries_of(reply), more

    async def stat(self, path: str) -> FileInfo:
        """Return what there is at ``path``; a link inside the workspace is followed."""
        return info_of((await self.ask("file_stat", path, path=path)).content)

    async def mkdir(self, path: str) -> None:
        """Make a directory with its parents; no-op when it is there."""
        await self.ask("file_mkdir", path, path=path)

    async def remove(self, path: str) -> None:
        """Remove a file, a link, or an empty directory."""
        await self.ask("file_remove", path, path=path)

    @asynccontextmanager
    async def open(self, path: str) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Give a file's size as it is now, and its pieces; the file may have more or fewer bytes by the time.

        A file that is replaced meanwhile is read on as it was.
        """
        handle, ended = _new_handle(), False
        try:
            reply = await self.ask("file_open", path, path=path, handle=handle)
            ended = reply.content.get("ended") is True
            async with aclosing(self._pieces(path, reply.data, "" if ended else handle)) as pieces:
                yield natural(reply.content.get("size")), pieces
        finally:
            if not ended:
                await self.release(handle)

    async def _pieces(self, path: str, first: bytes, handle: str) -> AsyncGenerator[bytes]:
        """Yield the pieces; while one is used, the next is under way."""
        if not handle:
            yield first
            return
        upcoming = self._asking("file_read", path, handle=handle)
        try:
            yield first
            while piece := (await upcoming).data:
                upcoming = self._asking("file_read", path, handle=handle)
                yield piece
        finally:
            await _settled(upcoming)

    async def write(self, path: str, data: bytes, mode: int | None = None) -> None:
        """Write a file whole, in the place of what was there. A failure leaves what was there. Raises `NoSpace`."""
        writer = Writer(self, path)
        try:
            await writer.write(data)
            await writer.place(path, mode)
        finally:
            await writer.close()

    async def walk(self, path: str) -> AsyncGenerator[FileInfo]:
        """Yield all entries of a directory, some thousand at a time; none of one that vanishes."""
        handle, more = _new_handle(), True
        try:
            reply = await self.ask("file_list", path, path=path, handle=handle)
            while True:
                more = reply.content.get("more") is True
                for entry in entries_of(reply):
                    yield entry
                if not more:
                    return
                reply = await self.ask("file_more", path, handle=handle)
        except UnknownFile:
            more = False
        finally:
            if more:
                await self.release(handle)

    async def release(self, handle: str) -> None:
        """Close a handle of the guest's; one that is gone is closed."""
        try:
            await self.ask("file_close", "", handle=handle)
        except SandboxFailed:
            return

    def _asking(self, request: str, about: str, data: bytes = b"", **content: Any) -> asyncio.Task[Reply]:
        return asyncio.create_task(self.ask(request, about, data, **content))

    async def ask(self, request: str, about: str, data: bytes = b"", **content: Any) -> Reply:
        """Return the guest's reply to a request about a path."""
        try:
            reply = await self._guest.ask(f"{request}_request", content, ASK_SECONDS, data)
        except LinkError as error:
            raise SandboxFailed(f"the sandbox cannot be asked: {error}", retry_after=1) from error
        if reply.content.get("status") != "ok":
            kind = _ERRORS.get(str(reply.content.get("ename")), FileRefused)
            raise kind(f"{absolute(about)[:200]!r}: {str(reply.content.get('evalue'))[:200]}")
        return reply


class Writer:
    """Writes one file, which has no place until `place`, and is nothing without it.

    One piece is under way while the next is collected; a file of one piece is one request.
    """

    def __init__(self, files: Files, path: str) -> None:
        self.path = path
        self._files = files
        self._handle = ""
        self._collected = bytearray()
        self._sending: asyncio.Task[Reply] | None = None

    async def write(self, data: bytes) -> None:
        """Append. Raises `NoSpace`."""
        self._collected += data
        while len(self._collected) > MAX_DATA_BYTES:
            await self._send(MAX_DATA_BYTES)

    async def flush(self) -> None:
        """Keep nothing here; what comes of it is told by what is done next."""
        if self._collected or not self._handle:
            await self._send(len(self._collected))

    async def place(self, path: str, mode: int | None = None) -> None:
        """Put the file in its place, with its parents. Raises `NoSpace`, and `FileRefused` for a directory there."""
        if not self._handle:
            await self._files.ask("file_put", path, bytes(self._collected), path=path, mode=mode)
            self._collected.clear()
            return
        await self.flush()
        await self._sent()
        await self._files.ask("file_place", path, handle=self._handle, path=path, mode=mode)
        self._handle = ""

    async def close(self) -> None:
        """Give up what has no place; a second call does nothing."""
        if self._sending is not None:
            await _settled(self._sending)
        if self._handle:
            handle, self._handle = self._handle, ""
            await self._files.release(handle)

    async def _send(self, size: int) -> None:
        if not self._handle:
            self._handle = _new_handle()
            await self._files.ask("file_create", self.path, handle=self._handle)
        await self._sent()
        piece = bytes(self._collected[:size])
        del self._collected[:size]
        self._sending = self._files._asking("file_write", self.path, piece, handle=self._handle)  # noqa: SLF001

    async def _sent(self) -> None:
        if self._sending is not None:
            sending, self._sending = self._sending, None
            await sending


async def _settled(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end; what it says is of no interest any more."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


def _new_handle() -> str:
    return uuid.uuid4().hex
