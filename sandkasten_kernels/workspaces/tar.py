"""Tar streams of files and directories, written and read piece by piece. Pure, without I/O."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import InvalidRequest

__all__ = ["Entry", "TarReader", "tar_end", "tar_header", "tar_padding"]

BLOCK = tarfile.BLOCKSIZE
MAX_PAX_BYTES = 64 * 1024
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)
_LONG = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME)
# 18 digits fit into 63 bits
MAX_SIZE_DIGITS = 18
_UNREADABLE = "the archive has an extended header that cannot be read"
_RECORD = re.compile(rb"([1-9][0-9]{0,5}) ([^=\n]+)=")


@dataclass(frozen=True)
class Entry:
    """A file or a directory of an archive; ``path`` is unchecked, as the archive has it."""

    path: str
    size: int
    mode: int
    is_dir: bool


def tar_header(path: str, *, size: int, mode: int, modified: float, is_dir: bool) -> bytes:
    """Return the header blocks of an entry."""
    info = tarfile.TarInfo(path)
    info.size, info.mode, info.mtime = size, mode, modified
    info.type = tarfile.DIRTYPE if is_dir else tarfile.REGTYPE
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def tar_padding(size: int) -> bytes:
    """Return the padding after ``size`` bytes of data, up to the next block."""
    return bytes(-size % BLOCK)


def tar_end() -> bytes:
    """Return the two empty blocks that end an archive."""
    return bytes(2 * BLOCK)


class TarReader:
    """Reads an archive as its bytes arrive, with long names of GNU and of pax.

    Raises `InvalidRequest`, which names the entry, for a link, a device, a sparse file, and data that is not tar.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._data_left = 0
        self._padding = 0
        self._long: tarfile.TarInfo | None = None
        self._path: str | None = None
        self._size: int | None = None
        self._ended = False
        self._any = False

    def feed(self, data: bytes) -> Iterator[Entry | bytes]:
        """Yield each new entry, and after it the pieces of its data. An empty piece ends a file."""
        self._buffer += data
        while not self._ended:
            if self._long is None and self._data_left:
                if not self._buffer:
                    return
                piece = bytes(self._buffer[: self._data_left])
                del self._buffer[: len(piece)]
                self._data_left -= len(piece)
                yield piece
                if not self._data_left:
                    yield b""
            elif self._padding:
                cut = min(self._padding, len(self._buffer))
                if not cut:
                    return
                del self._buffer[:cut]
                self._padding -= cut
            elif self._long is not None:
                if len(self._buffer) < self._data_left:
                    return
                self._take_long(bytes(self._buffer[: self._data_left]))
                del self._buffer[: self._data_left]
                self._data_left = 0
            elif len(self._buffer) < BLOCK:
                return
            else:
                block = bytes(self._buffer[:BLOCK])
                del self._buffer[:BLOCK]
                yield from self._header(block)
        # tar pads an archive to 10 KiB and more: bytes after the end are not collected
        self._buffer.clear()

    def finish(self) -> None:
        """Raise `InvalidRequest` if the archive is incomplete or empty."""
        if self._data_left or self._padding or self._buffer or self._long is not None or not (self._any or self._ended):
            raise InvalidRequest("the archive is incomplete, or not a tar archive")

    def _header(self, block: bytes) -> Iterator[Entry | bytes]:
        if not any(block):
            self._ended = True
            return
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise InvalidRequest(f"not a tar archive, or a compressed one: {error}") from error
        self._any = True
        if info.type in _LONG:
            # an extended header is kept in memory as a whole
            if not 0 < info.size <= MAX_PAX_BYTES:
                raise InvalidRequest(f"the archive has a header of {info.size} bytes; the limit is {MAX_PAX_BYTES}")
            self._long, self._data_left, self._padding = info, info.size, 0
            return
        path = info.name if self._path is None else self._path
        size = info.size if self._size is None else self._size
        self._path = self._size = None
        if info.type == tarfile.DIRTYPE:
            yield Entry(path, 0, info.mode, True)
        elif info.type in _FILES and size >= 0:
            # a size in base 256 may be negative
            self._data_left, self._padding = size, -size % BLOCK
            yield Entry(path, size, info.mode, False)
            if not size:
                yield b""
        else:
            kind = "a link" if info.type in (tarfile.LNKTYPE, tarfile.SYMTYPE) else "neither a file nor a directory"
            raise InvalidRequest(f"{path[:200]!r} in the archive is {kind}: leave it out")

    def _take_long(self, data: bytes) -> None:
        assert self._long is not None
        self._padding = -len(data) % BLOCK
        kind, self._long = self._long.type, None
        if kind == tarfile.GNUTYPE_LONGNAME:
            self._path = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
            return
        for key, value in _pax(data):
            # the data of a sparse file are a map and pieces, not its content
            if key.startswith(b"GNU.sparse."):
                raise InvalidRequest("the archive has a sparse file: make it without --sparse")
            if key in (b"path", b"size") and kind == tarfile.XGLTYPE:
                raise InvalidRequest("the archive has one path or size for all its files")
            if key == b"path":
                self._path = value.decode("utf-8", "surrogateescape")
            elif key == b"size":
                if not value.isdigit() or len(value) > MAX_SIZE_DIGITS:
                    raise InvalidRequest(_UNREADABLE)
                self._size = int(value)


def _pax(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of an extended header. A record is a length, a blank, ``key=value`` and a newline."""
    start = 0
    while start < len(data):
        found = _RECORD.match(data, start)
        end = start + int(found[1]) if found else 0
        if not found or not found.end() < end <= len(data) or data[end - 1 : end] != b"\n":
            raise InvalidRequest(_UNREADABLE)
        yield found[2], data[found.end() : end - 1]
        start = end
