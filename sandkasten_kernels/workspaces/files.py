"""Files: one sandbox's workspace, read and written through its guest, a bounded piece at a time."""

from __future__ import annotations

import asyncio
import posixpath
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from ..engines import WORKSPACE
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
from ..protocol import Reply
from ..relay import MAX_DATA_BYTES, GuestLink, LinkError
from .file_info import FileInfo, entries_of, info_of, natural

__all__ = ["Allowance", "Files", "Writer", "absolute", "relative"]

ASK_SECONDS = 30.0
# PATH_MAX of Linux is 4096 and counts the NUL at the end
MAX_PATH_BYTES = 4095
_ERRORS: dict[str, type[SandkastenError]] = {
    "FILE_NOT_FOUND": UnknownFile,
    "NO_SPACE": NoSpace,
    "TOO_MANY": TooMany,
}


def relative(path: str) -> str:
    """Return the path relative to the workspace; empty for the workspace itself.

    A relative ``path`` starts at the workspace. Bytes of a name that are not UTF-8 are as `os.fsdecode` returns them.
    Raises `InvalidRequest` for a path outside the workspace, and for a string that cannot be a path.
    """
    try:
        size = len(path.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        raise InvalidRequest("path: must have no lone surrogates") from None
    if "\0" in path or size > MAX_PATH_BYTES:
        raise InvalidRequest(f"path: must have at most {MAX_PATH_BYTES} bytes and no NUL characters")
    # normpath keeps two slashes at the begin, as POSIX demands
    whole = "/" + posixpath.normpath(posixpath.join(WORKSPACE, path)).lstrip("/")
    if whole != WORKSPACE and not whole.startswith(WORKSPACE + "/"):
        raise InvalidRequest(f"path: {path[:200]!r} is outside {WORKSPACE}")
    return whole[len(WORKSPACE) + 1 :]


def absolute(path: str) -> str:
    """Return a path of `relative` as callers see it: absolute, with a replacement for bytes that are not UTF-8."""
    whole = posixpath.join(WORKSPACE, path) if path else WORKSPACE
    return whole.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class Allowance:
    """The bytes that one request may still send."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = limit

    def take(self, count: int) -> None:
        """Use up ``count`` bytes. Raises `TooLarge` above the limit."""
        self._left -= count
        if self._left < 0:
            raise TooLarge(f"more than {self._limit} bytes: limits.max_upload_bytes allows no larger upload")


class Files:
    """Reads and writes below ``/workspace``. All paths are relative to it, as `relative` returns them.

    Only the types of the guest's replies are checked, because the guest itself resolves paths. Every method raises
    `SandboxFailed` if the sandbox does not answer, `UnknownFile`, and `FileRefused` for anything that is not a file or
    that a link leads outside.
    """

    def __init__(self, guest: GuestLink) -> None:
        self._guest = guest

    async def entries(self, path: str) -> tuple[list[FileInfo], bool]:
        """Return the first page of a directory, some thousand entries, and whether there are more."""
        # our own handle, and `more` at first: the guest's is closed even if its reply never comes
        handle, more = _new_handle(), True
        try:
            reply = await self.ask("file_list", path, path=path, handle=handle)
            more = reply.content.get("more") is True
        finally:
            if more:
                await self.release(handle)
        return entries_of(reply), more

    async def stat(self, path: str) -> FileInfo:
        """Return type, size and times of a path; a link inside the workspace is followed."""
        return info_of((await self.ask("file_stat", path, path=path)).content)

    async def mkdir(self, path: str) -> None:
        """Make a directory with its parents; no-op if it exists."""
        await self.ask("file_mkdir", path, path=path)

    async def remove(self, path: str) -> None:
        """Remove a file, a link, or an empty directory."""
        await self.ask("file_remove", path, path=path)

    @asynccontextmanager
    async def open(self, path: str) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Open a file and give its size and its pieces. If it changes meanwhile, the pieces may not add up to the size.

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
        """Yield the pieces; the request for the next one is sent before a piece is given."""
        if not handle:
            yield first
            return
        upcoming = self.send("file_read", path, handle=handle)
        try:
            yield first
            while piece := (await upcoming.get()).data:
                upcoming = self.send("file_read", path, handle=handle)
                yield piece
        finally:
            upcoming.cancel()

    async def write(self, path: str, data: bytes, mode: int | None = None) -> None:
        """Replace a file as a whole, or make it. A failure leaves the old file. Raises `NoSpace`."""
        writer = Writer(self, path)
        try:
            await writer.write(data)
            await writer.place(path, mode)
        finally:
            await writer.close()

    async def walk(self, path: str) -> AsyncGenerator[FileInfo]:
        """Yield all entries of a directory, page by page; stop if the directory vanishes."""
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
        """Close a handle in the guest; no-op if the sandbox is gone."""
        try:
            await self.ask("file_close", "", handle=handle)
        except SandboxFailed:
            return

    def send(self, request: str, about: str, data: bytes = b"", **content: Any) -> PendingReply:
        """Send a request about a path, and return its reply to be awaited later."""
        try:
            return PendingReply(self._guest, request, about, self._guest.request(f"{request}_request", content, data))
        except LinkError as error:
            raise _unreachable(error) from error

    async def ask(self, request: str, about: str, data: bytes = b"", **content: Any) -> Reply:
        """Send a request about a path, and return the guest's reply."""
        return await self.send(request, about, data, **content).get()


class PendingReply:
    """The reply to a request that is sent already; so the next one is under way while a caller uses the last."""

    def __init__(self, guest: GuestLink, request: str, about: str, reply: asyncio.Future[Reply]) -> None:
        self._guest = guest
        self._request = request
        self._about = about
        self._reply = reply

    async def get(self) -> Reply:
        """Wait for the reply and return it. Raises as the methods of `Files`."""
        try:
            reply = await self._guest.reply(self._reply, f"{self._request}_request", ASK_SECONDS)
        except LinkError as error:
            raise _unreachable(error) from error
        if reply.content.get("status") != "ok":
            kind = _ERRORS.get(str(reply.content.get("ename")), FileRefused)
            raise kind(f"{absolute(self._about)[:200]!r}: {str(reply.content.get('evalue'))[:200]}")
        return reply

    def cancel(self) -> None:
        """Ignore the reply; no-op if it is there."""
        self._reply.cancel()


class Writer:
    """Writes one file, which appears in the workspace only when `place` is called.

    One piece is under way while the next is collected. A file of one piece takes one request.
    """

    def __init__(self, files: Files, path: str) -> None:
        self.path = path
        self._files = files
        self._handle = ""
        self._collected = bytearray()
        self._sending: PendingReply | None = None

    async def write(self, data: bytes) -> None:
        """Append. Raises `NoSpace`."""
        self._collected += data
        # not >=: if the last piece is the only one, `place` sends it in its one request
        while len(self._collected) > MAX_DATA_BYTES:
            await self._send(MAX_DATA_BYTES)

    async def flush(self) -> None:
        """Send the buffered bytes; the next call raises any failure."""
        if self._collected or not self._handle:
            await self._send(len(self._collected))

    async def place(self, path: str, mode: int | None = None) -> None:
        """Put the file at ``path``, and make its parents. Raises `NoSpace`, `FileRefused` if a directory is there."""
        if not self._handle:
            await self._files.ask("file_put", path, bytes(self._collected), path=path, mode=mode)
            self._collected.clear()
            return
        await self.flush()
        await self._sent()
        await self._files.ask("file_place", path, handle=self._handle, path=path, mode=mode)
        self._handle = ""

    async def close(self) -> None:
        """Discard a file that is not placed; a second call does nothing."""
        if self._sending is not None:
            self._sending.cancel()
        if self._handle:
            # cleared before the await: a second call must not release it again
            handle, self._handle = self._handle, ""
            await self._files.release(handle)

    async def _send(self, size: int) -> None:
        if not self._handle:
            self._handle = _new_handle()
            await self._files.ask("file_create", self.path, handle=self._handle)
        await self._sent()
        piece = bytes(self._collected[:size])
        del self._collected[:size]
        self._sending = self._files.send("file_write", self.path, piece, handle=self._handle)

    async def _sent(self) -> None:
        if self._sending is not None:
            sending, self._sending = self._sending, None
            await sending.get()


def _unreachable(error: LinkError) -> SandboxFailed:
    return SandboxFailed(f"the sandbox cannot be asked: {error}", retry_after=1)


def _new_handle() -> str:
    return uuid.uuid4().hex
