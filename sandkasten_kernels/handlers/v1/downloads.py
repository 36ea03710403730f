"""``GET /v1/sessions/{id}/fs/read`` and ``fs/download``: streams files of any size."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import posixpath
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from urllib.parse import quote

from tornado.iostream import StreamClosedError

from ...errors import FileRefused, InvalidRequest, SandkastenError
from ...workspaces import Files, absolute, pack
from .base import V1Handler
from .files import files_of, query_path

__all__ = ["DownloadHandler", "ReadHandler", "disposition"]

log = logging.getLogger("sandkasten_kernels.files")
WRITE_BYTES = 64 * 1024
_UNSAFE = re.compile(r'[^ -~]|["\\%/]')


class _OutgoingHandler(V1Handler):
    """A handler of ``GET`` with an answer that `send` streams, until the client disconnects or stops reading.

    An error before the first byte is an ordinary answer. A later one closes the connection, so that a client never
    takes an incomplete answer for a complete one.
    """

    async def get(self, session_id: str) -> None:
        try:
            await self.unless_gone(self._answer(session_id))
        except (asyncio.CancelledError, StreamClosedError):
            return

    async def send(self, files: Files) -> None:
        """Set the headers, and stream the body by `stream`."""
        raise NotImplementedError

    async def stream(self, pieces: AsyncIterator[bytes], size: int | None = None) -> None:
        """Send the pieces; with ``size``, exactly this many bytes. Raises `FileRefused` when there are fewer."""
        collected, left = bytearray(), size
        async for piece in pieces:
            collected += piece if left is None else piece[:left]
            if left is not None:
                left -= len(piece[:left])
            while len(collected) >= WRITE_BYTES:
                await self._write(bytes(collected[:WRITE_BYTES]))
                del collected[:WRITE_BYTES]
            if left == 0:
                break
        if left:
            raise FileRefused(f"the file became {left} bytes shorter during the download: try again")
        self.write(bytes(collected))
        self.finish()

    async def _answer(self, session_id: str) -> None:
        try:
            async with files_of(self, session_id) as files:
                await self.send(files)
        except BaseException as error:
            if not self._headers_written or self._finished:
                raise
            if isinstance(error, SandkastenError | TimeoutError):
                log.warning("a download was cut off: %s [%s]", error, self.request_id)
            elif isinstance(error, Exception) and not isinstance(error, StreamClosedError):
                self.log_exception(type(error), error, error.__traceback__)
            self.request.connection.stream.close()  # type: ignore[union-attr]

    async def _write(self, data: bytes) -> None:
        self.write(data)
        timeout = self.settings["idle_seconds"]
        try:
            await asyncio.wait_for(self.flush(), timeout)
        except TimeoutError as error:
            raise TimeoutError(f"the client read nothing for {timeout:g} s") from error


class ReadHandler(_OutgoingHandler):
    """``GET /v1/sessions/{id}/fs/read?path=&max_bytes=``: a file as base64 in JSON."""

    async def send(self, files: Files) -> None:
        path, limit = query_path(self), self._max_bytes()
        async with files.open(path) as (_, pieces), aclosing(_json_of(path, pieces, limit)) as parts:
            self.set_header("Content-Type", "application/json; charset=UTF-8")
            await self.stream(parts)

    def _max_bytes(self) -> int | None:
        """Return the limit in bytes; None for the whole file, which 0 means too. Raises `InvalidRequest`."""
        text = self.get_query_argument("max_bytes", "0")
        if not re.fullmatch(r"[0-9]{1,18}", text):
            raise InvalidRequest("max_bytes: must be a whole number of bytes; 0 or none for the whole file")
        return int(text) or None


class DownloadHandler(_OutgoingHandler):
    """``GET /v1/sessions/{id}/fs/download?path=``: a file, or a directory as a tar archive."""

    async def send(self, files: Files) -> None:
        path = query_path(self, "")
        name = posixpath.basename(path) or "workspace"
        if (await files.stat(path)).kind == "directory":
            self.set_header("Content-Type", "application/x-tar")
            self.set_header("Content-Disposition", disposition(f"{name}.tar"))
            async with aclosing(pack(files, path)) as archive:
                await self.stream(archive)
            return
        async with files.open(path) as (size, pieces):
            self.set_header("Content-Type", "application/octet-stream")
            self.set_header("Content-Disposition", disposition(name))
            self.set_header("Content-Length", str(size))
            await self.stream(pieces, size)


def disposition(name: str) -> str:
    """Return a ``Content-Disposition`` header that saves as ``name``, which may have any characters (RFC 6266)."""
    encoded = quote(name.encode("utf-8", "surrogateescape"), safe="")
    return f"attachment; filename=\"{_UNSAFE.sub('_', name)}\"; filename*=UTF-8''{encoded}"


async def _json_of(path: str, pieces: AsyncIterator[bytes], limit: int | None) -> AsyncGenerator[bytes]:
    """Yield the JSON object ``path content_base64 truncated`` in pieces; its length is not known in advance."""
    yield f'{{"path": {json.dumps(absolute(path))}, "content_base64": "'.encode()
    rest, left, truncated = b"", limit, False
    async for piece in pieces:
        if left is not None:
            truncated = len(piece) > left
            piece = piece[:left]
            left -= len(piece)
        data = rest + piece
        # base64 of whole groups of three bytes can be joined
        whole = len(data) - len(data) % 3
        rest = data[whole:]
        yield base64.b64encode(data[:whole])
        if truncated:
            break
    yield base64.b64encode(rest) + f'", "truncated": {json.dumps(truncated)}}}'.encode()
