"""Archives: directories of a workspace as tar archives, packed and unpacked in bounded pieces."""

from __future__ import annotations

import posixpath
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing

from ..engines import WORKSPACE
from ..errors import FileRefused, InvalidRequest, UnknownFile
from ..relay import MAX_DATA_BYTES
from .file_info import FileInfo
from .files import Allowance, Files, Writer, absolute, relative
from .tar import Entry, TarReader, tar_end, tar_header, tar_padding

__all__ = ["pack", "unpack"]

MAX_DIRECTORIES_AHEAD = 20_000


async def pack(files: Files, path: str) -> AsyncGenerator[bytes]:
    """Yield the pieces of a tar archive of a directory.

    It has files and directories only: links and devices are left out, and files that vanish meanwhile.
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
                    # the list is in the gateway's memory, and the sandbox decides how long it gets
                    if len(ahead) > MAX_DIRECTORIES_AHEAD:
                        raise FileRefused(f"{absolute(path)[:200]!r} has too many directories for an archive")
                elif entry.kind == "file":
                    async with aclosing(_packed(files, inner, name, entry)) as pieces:
                        async for piece in pieces:
                            yield piece
    yield tar_end()


async def _packed(files: Files, path: str, name: str, entry: FileInfo) -> AsyncGenerator[bytes]:
    """Yield header and content of one file.

    If the file changes meanwhile, it is cut or filled with zeros to the size in its header.
    """
    try:
        async with files.open(path) as (size, pieces):
            yield tar_header(name, size=size, mode=entry.mode, modified=entry.modified, is_dir=False)
            left = size
            async for piece in pieces:
                yield piece[:left]
                left -= len(piece[:left])
                if not left:
                    break
            # the header with the size is sent: what is missing can only be filled
            while left:
                yield bytes(min(left, MAX_DATA_BYTES))
                left -= min(left, MAX_DATA_BYTES)
            yield tar_padding(size)
    except UnknownFile:
        # deleted since its directory was listed
        return


async def unpack(files: Files, path: str, pieces: AsyncIterable[bytes], *, limit: int) -> int:
    """Unpack a tar archive below a directory, and return the number of its files.

    Raises `InvalidRequest` for a link, for a path outside the directory and for data that is not a tar archive, and
    `TooLarge` above ``limit`` bytes of content. The entries before the error stay.
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
                        # without set-uid bits; and the owner can read and change the file whatever its mode was
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
    """Return the path of an archive's entry. Raises `InvalidRequest` for an absolute one and for ``..``."""
    if name.startswith("/") or ".." in name.split("/"):
        raise InvalidRequest(f"{name[:200]!r} in the archive is outside its directory")
    return relative(posixpath.join(WORKSPACE, path, name))
