"""Local files and directories as forms and tar streams, for upload and download."""

from __future__ import annotations

import io
import os
import posixpath
import re
import shutil
import tarfile
import uuid
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from .wire import Body

__all__ = [
    "TAR_TYPE",
    "Progress",
    "form_of",
    "local_target",
    "open_file",
    "place",
    "scratch",
    "tar_of_bytes",
    "tar_of_directory",
    "tar_of_stream",
    "unpack",
]

Progress = Callable[[int, int | None], None]
"""Called with the number of bytes transferred, and with their total number, None if it is unknown."""

PIECE_BYTES = 256 * 1024
TAR_TYPE = "application/x-tar"
_UNSAFE = re.compile(r'["\\\x00-\x1f\x7f]')
_LINE_END = re.compile(r"[\r\n\0]")


def form_of(source: BinaryIO, name: str, dest_path: str, progress: Progress | None) -> Body:
    """Return a form that uploads a file from its current position.

    Raises `ValueError` for a name that a form cannot contain, `TypeError` for a file in text mode.
    """
    if isinstance(source, io.TextIOBase):
        raise TypeError(f"{name} is open as text: open it in binary mode, as in open(path, 'rb')")
    # the name goes into a header of the form, which these characters would end
    if found := _UNSAFE.search(name):
        raise ValueError(f"{name!r}: a file name cannot have {found[0]!r}: give another one as filename")
    if found := _LINE_END.search(dest_path):
        raise ValueError(f"dest_path: must not have {found[0]!r}, got {dest_path!r}")
    boundary = uuid.uuid4().hex
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="path"\r\n\r\n{dest_path}\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode("utf-8", "surrogateescape")
    tail = f"\r\n--{boundary}--\r\n".encode()
    begin, size = _begin_and_size(source)

    def pieces() -> Iterator[bytes]:
        yield head
        # each attempt of a repeated request begins at the same place
        if begin is not None:
            source.seek(begin)
        yield from _counted(iter(lambda: source.read(PIECE_BYTES), b""), size, progress)
        yield tail

    whole = None if size is None else len(head) + size + len(tail)
    return Body(pieces, whole, f"multipart/form-data; boundary={boundary}", repeatable=begin is not None)


def tar_of_stream(source: BinaryIO) -> Body:
    """Return the body for an open archive, from its current position."""
    begin, size = _begin_and_size(source)

    def pieces() -> Iterator[bytes]:
        if begin is not None:
            source.seek(begin)
        yield from iter(lambda: source.read(PIECE_BYTES), b"")

    return Body(pieces, size, TAR_TYPE, repeatable=begin is not None)


def tar_of_bytes(name: str, data: bytes) -> Body:
    """Return the body with an archive of one file."""
    archive = [_header(name, len(data), 0o644, 0), data, _padding(len(data)), _END]
    return Body(lambda: iter(archive), sum(map(len, archive)), TAR_TYPE)


def tar_of_directory(directory: Path, prefix: str, progress: Progress | None) -> Body:
    """Return the body with an archive of a directory, below ``prefix``, without links."""

    def pieces() -> Iterator[bytes]:
        total = sum(path.stat().st_size for path, is_dir in _tree(directory) if not is_dir) if progress else None
        yield from _counted(_packed(directory, prefix), total, progress)

    return Body(pieces, None, TAR_TYPE)


def unpack(archive: Path, target: Path) -> None:
    """Unpack the archive of a downloaded directory into ``target``, without its top directory; remove the archive.

    Raises `ValueError` for an entry that would be outside of ``target``, also by a link that exists already.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        root = target.resolve()
        with tarfile.open(archive) as tar:
            for member in tar:
                _, _, name = member.name.rstrip("/").partition("/")
                if name and (member.isfile() or member.isdir()):
                    _put(tar, member, root, name)
    finally:
        archive.unlink()


def _put(tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path, name: str) -> None:
    """Unpack a file or a directory. `tarfile` has safe extraction filters only since Python 3.11.4."""
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise ValueError(f"{name!r} in the archive leads out of {root}")
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    source = tar.extractfile(member)
    assert source is not None
    with source, path.open("wb") as file:
        shutil.copyfileobj(source, file, PIECE_BYTES)
    # others get no write permission, and the owner keeps his, whatever the archive says
    path.chmod(member.mode & 0o755 | 0o600)
    os.utime(path, (member.mtime, member.mtime))


def open_file(path: Path) -> BinaryIO:
    """Return a local file, open for reading. Raises `FileNotFoundError`, also for no regular file."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    return path.open("rb")


def local_target(path: str, to: str | PathLike[str] | None) -> Path:
    """Return the local path for a file or directory of a sandbox: ``to``, or below ``to`` if that is a directory."""
    name = posixpath.basename(posixpath.normpath(path))
    if name in ("", ".", ".."):
        name = ""
    if to is None:
        return Path(name or "workspace")
    return Path(to) / name if name and Path(to).is_dir() else Path(to)


def scratch(target: Path) -> tuple[BinaryIO, Path]:
    """Return a new temporary file beside ``target``, open for writing, and its path."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # beside the target, because a rename works within one file system only
    draft = target.parent / f".{target.name[:60]}-{uuid.uuid4().hex}"
    return draft.open("xb"), draft


def place(draft: Path, target: Path) -> None:
    """Replace ``target`` by the temporary file."""
    draft.replace(target)


_END = bytes(2 * tarfile.BLOCKSIZE)


def _begin_and_size(source: BinaryIO) -> tuple[int | None, int | None]:
    """Return a file's position, and how many bytes follow; None and None for a file without random access."""
    try:
        begin = source.tell()
        size = source.seek(0, os.SEEK_END) - begin
        source.seek(begin)
    except (OSError, AttributeError):
        return None, None
    return begin, size


def _counted(pieces: Iterator[bytes], total: int | None, progress: Progress | None) -> Iterator[bytes]:
    passed = 0
    for piece in pieces:
        yield piece
        # behind the yield: by now the piece is sent
        passed += len(piece)
        if progress:
            progress(min(passed, total) if total is not None else passed, total)


def _packed(directory: Path, prefix: str) -> Iterator[bytes]:
    yield _header(prefix, 0, 0o755, directory.stat().st_mtime, is_dir=True)
    for path, is_dir in _tree(directory):
        state = path.stat()
        name = f"{prefix}/{path.relative_to(directory)}"
        if is_dir:
            yield _header(name, 0, state.st_mode & 0o777, state.st_mtime, is_dir=True)
            continue
        with path.open("rb") as file:
            # of the open file: it may have changed since the directory was listed
            size = left = os.fstat(file.fileno()).st_size
            yield _header(name, size, state.st_mode & 0o777, state.st_mtime)
            while left:
                piece = file.read(min(left, PIECE_BYTES))
                if not piece:
                    raise OSError(f"{path} became shorter during the upload")
                left -= len(piece)
                yield piece
            yield _padding(size)
    yield _END


def _tree(directory: Path) -> Iterator[tuple[Path, bool]]:
    """Yield all files and directories below, sorted, and whether each is a directory; skip links."""
    for path in sorted(directory.iterdir()):
        if path.is_symlink():
            continue
        if path.is_dir():
            yield path, True
            yield from _tree(path)
        elif path.is_file():
            yield path, False


def _header(name: str, size: int, mode: int, modified: float, *, is_dir: bool = False) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, mode, int(modified)
    info.type = tarfile.DIRTYPE if is_dir else tarfile.REGTYPE
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
