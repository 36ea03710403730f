"""A sandbox's directories as tar archives, down and up, a bounded piece at a time."""

from __future__ import annotations

import posixpath
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing

from ..engines.base import WORKSPACE
from ..errors import FileRefused, InvalidRequest, UnknownFile
from ..relay.guest_link import MAX_DATA_BYTES
from .file_info import FileInfo
from .files import Allowance, Files, Writer, absolute, relative
from .tar import Entry, TarReader, tar_end, tar_header, tar_padding

__all__ = ["pack", "unpack"]

MAX_DIRECTORIES_AHEAD = 20_000


async def pack(files: Files, path: str) -> AsyncGenerator[bytes]:
    """Yield a directory as a tar archive, its files and directories; links and the rest are left out.

    What vanishes while it is read is left out too.
    """
    ahead = [(path, posixpath.basename(path) or "workspace", 0.0)]
    while ahead:
        folder, label, modified = ahead.pop()
        yield tar_header(label, size=0, mode=0o755, modified=modified, is_dir=True)
        async with aclosing(files.walk(folder)) as entries:
            async for entry in entries:
                inner, name = posixpath.join(folder, entry.name), f"{label}/{entry.name}"
                if entry.kind == "directory":
                    ahead.append((inner, name, entry.modified))
                    if len(ahead) > MAX_DIRECTORIES_AHEAD:
                        raise FileRefused(f"{absolute(path)[:200]!r} has too many directories for an archive")
                elif entry.kind == "file":
                    async with aclosing(_packed(files, inner, name, entry)) as pieces:
                        async for piece in pieces:
                            yield piece
    yield tar_end()


async def _packed(files: Files, path: str, name: str, entry: FileInfo) -> AsyncGenerator[bytes]:
    """Yield one file; where it has changed meanwhile it is cut, or filled with zeros, to the size that was said."""
    try:
        async with files.open(path) as (size, pieces):
            yield tar_header(name, size=size, mode=entry.mode, modified=entry.modified, is_dir=False)
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
    except UnknownFile:
        return


async def unpack(files: Files, path: str, pieces: AsyncIterable[bytes], *, limit: int) -> int:
    """Unpack a tar archive below a directory; return how many files it had.

    Raises `InvalidRequest` for a link, a path that leads out and what is no archive, and `TooLarge` for more than
    ``limit`` bytes of files; what stood before it in the archive is then there.
    """
    reader, allowance, count = TarReader(), Allowance(limit), 0
    writer: Writer | None = None
    await files.mkdir(path)
    try:
        async for data in pieces:
            for event in reader.feed(data):
                if isinstance(event, Entry):
                    target = _below(path, event.path)
                    if event.is_dir:
                        await files.mkdir(target)
                    else:
                        writer, mode = Writer(files, target), (event.mode & 0o777) | 0o600
                elif writer is not None and event:
                    allowance.take(len(event))
                    await writer.write(event)
                elif writer is not None:
                    await writer.place(writer.path, mode)
                    count += 1
    finally:
        if writer is not None:
            await writer.close()
    reader.finish()
    return count


def _below(path: str, name: str) -> str:
    """Return where an archive's entry goes; ``..`` and absolute paths are refused."""
    if name.startswith("/") or ".." in name.split("/"):
        raise InvalidRequest(f"{name[:200]!r} in the archive leads out of its directory")
    return relative(posixpath.join(WORKSPACE, path, name))
